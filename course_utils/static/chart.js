// Draws the live charts of a page: each specification lies in its figure as data.
async function drawCharts() {
  const views = [];
  for (const figure of document.querySelectorAll(".live-chart")) {
    try {
      const spec = JSON.parse(figure.querySelector("script").textContent);
      views.push((await vegaEmbed(figure.querySelector(".chart"), spec, { actions: false })).view);
    } catch (error) {
      console.error(error);
      figure.querySelector("details").open = true;
    }
  }
  return views;
}
