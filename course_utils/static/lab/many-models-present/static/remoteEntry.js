// JupyterLab has a command for its presentation mode, but no setting or option that starts it. The container that webpack
// would build around a plugin of five lines, written by hand.
const plugin = {
  id: "many-models-present:plugin",
  autoStart: true,
  activate: (app) => void app.restored.then(() => app.commands.execute("application:toggle-presentation-mode")),
};
(window._JUPYTERLAB ??= {})["many-models-present"] = { init: () => {}, get: async () => () => ({ __esModule: true, default: plugin }) };
