"""Sliders and buttons for what needs the model: the kernel computes when the slider is released, and can be stopped."""

from __future__ import annotations

import html
import textwrap
import threading
from collections.abc import Callable, Iterable, Sequence

__all__ = ["ChoiceControl", "GenerateControl", "choice_control", "generate_control"]

DEBOUNCE = 0.3  # seconds without another tick before a choice is evaluated


class BackgroundControl:
    """What the controls share: one run at a time in its own thread, which can be cancelled, and a status line.

    ``text`` is the last text, ``state`` is "ready", "busy", "done", "cancelled" or "failed". ``wait()`` joins the run.
    A subclass builds ``box`` and says in ``_argument()`` what its function is called with.
    """

    busy = "generating …"

    def __init__(self, function, verb: str, label: str, description: str) -> None:
        import ipywidgets as widgets  # only here, so that the charts do not need it

        self._function, self._thread, self._stop = function, None, threading.Event()
        self._lock = threading.Lock()
        self.label, self.description, self.text, self.state = label, description, "", "ready"
        self.start_button = widgets.Button(description=verb, tooltip=f"{verb} with the chosen {label}")
        self.cancel_button = widgets.Button(description="Cancel", tooltip="Stop after the next step", disabled=True)
        # role=status: a screen reader says what changes here without moving the focus.
        self.output = widgets.HTML(self._page())
        self.start_button.on_click(lambda _: self.start())
        self.cancel_button.on_click(lambda _: self.cancel())

    def _argument(self):
        raise NotImplementedError

    def start(self) -> None:
        """Run with what is chosen now, in a thread; a run that is under way is cancelled first."""
        with self._lock:
            self.cancel()
            self.wait()  # two threads in one model (and its KV cache) would mix their tokens
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._argument(), self._stop), daemon=True)
            self._set("busy", "")
            self._thread.start()

    def cancel(self) -> None:
        """Ask the run to stop; it does so before the next piece of text."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> None:
        """Return when no run is under way."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self, argument, stop: threading.Event) -> None:
        text = ""
        try:
            for piece in self._function(argument, stop.is_set):
                if stop.is_set():
                    break
                text += piece
                self._set("busy", text)
            self._set("cancelled" if stop.is_set() else "done", text)
        except Exception as error:  # noqa: BLE001  shown in the control: a traceback of a thread would land in no cell
            self._set("failed", f"{type(error).__name__}: {error}")

    def _set(self, state: str, text: str) -> None:
        self.state, self.text = state, text
        self.start_button.disabled, self.cancel_button.disabled = state == "busy", state != "busy"
        self.output.value = self._page()

    def _page(self) -> str:
        said = self.busy if self.state == "busy" else self.state
        body = html.escape(self.text).replace("\n", "<br>")
        return f'<div role="status" aria-live="polite"><i>{said}</i><p style="max-width:70ch">{body}</p></div>'

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        bundle = self.box._repr_mimebundle_() or {}
        view = {k: v for k, v in bundle.items() if k == "application/vnd.jupyter.widget-view+json"}
        return {**view, "text/plain": repr(self)}  # the widget's own text holds its state; this one is stable


class GenerateControl(BackgroundControl):
    """A labelled slider with Generate and Cancel, because the browser cannot run the model: one run at each release.

    ``generate_fn(lam, should_stop)`` yields pieces of text as they are generated; it is not asked for another piece
    after Cancel or after the slider moved, and may itself look at ``should_stop()`` between two tokens. lam_range is
    (low, high, step). The run has its own thread, so that the notebook stays usable.
    Raises ValueError: an empty range, a value outside it.
    """

    def __init__(
        self,
        generate_fn: Callable[[float, Callable[[], bool]], Iterable[str]],
        lam_range: tuple[float, float, float] = (0.0, 1.0, 0.05),
        *,
        value: float = 0.5,
        label: str = "λ",
        description: str = "Generate a continuation with the chosen λ.",
    ) -> None:
        import ipywidgets as widgets

        low, high, step = lam_range
        if not (low < high and step > 0 and low <= value <= high):
            raise ValueError(f"lam_range must be (low, high, step) with value in it, got {lam_range} and {value}")
        super().__init__(generate_fn, "Generate", label, description)
        setting = {"value": value, "min": low, "max": high, "step": step, "style": {"description_width": "initial"}}
        wide, narrow = widgets.Layout(width="380px"), widgets.Layout(width="auto")
        released = {"continuous_update": False, "readout": False}
        self.slider = widgets.FloatSlider(description=label, layout=wide, **released, **setting)
        # ipywidgets ties its label to a number box, but not to the handle of its slider: for screen readers.
        self.number = widgets.BoundedFloatText(description=f"{label} =", layout=narrow, **setting)
        self._link = widgets.link((self.slider, "value"), (self.number, "value"))
        row = widgets.HBox([self.slider, self.number, self.start_button, self.cancel_button])
        self.box = widgets.VBox([row, self.output])
        self.slider.observe(lambda _: self.start(), names="value")

    def _argument(self) -> float:
        return self.slider.value

    def __repr__(self) -> str:
        return textwrap.fill(f"{self.description} Slider: {self.label}. It needs a running kernel.", 100)


class ChoiceControl(BackgroundControl):
    """Tick boxes with Evaluate and Cancel, because the browser cannot run the model: one run for each new choice.

    ``evaluate_fn(indices, should_stop)`` yields pieces of text; ``choices`` are the boxes' names, ``chosen`` the
    indices ticked at first. It runs in its own thread when no box has changed for ``DEBOUNCE`` seconds, or by its
    button, and can be cancelled. Raises ValueError: no choices, an index outside them.
    """

    busy = "computing …"

    def __init__(
        self,
        choices: Sequence[str],
        evaluate_fn: Callable[[list[int], Callable[[], bool]], Iterable[str]],
        *,
        chosen: Sequence[int] = (),
        label: str = "ingredients",
        description: str = "Choose, and see the result.",
    ) -> None:
        import ipywidgets as widgets

        if not choices or any(not 0 <= i < len(choices) for i in chosen):
            raise ValueError(f"chosen must be indices of the {len(choices)} choices, got {list(chosen)}")
        super().__init__(evaluate_fn, "Evaluate", label, description)
        self.choices, self._timer = list(choices), None
        look = {"indent": False, "layout": widgets.Layout(width="auto")}
        self.boxes = [widgets.Checkbox(value=i in chosen, description=c, **look) for i, c in enumerate(choices)]
        grid = widgets.GridBox(self.boxes, layout=widgets.Layout(grid_template_columns="repeat(3, 230px)"))
        self.box = widgets.VBox([grid, widgets.HBox([self.start_button, self.cancel_button]), self.output])
        for box in self.boxes:
            box.observe(lambda _: self._soon(), names="value")

    @property
    def chosen(self) -> list[int]:
        """The indices of the boxes that are ticked."""
        return [i for i, box in enumerate(self.boxes) if box.value]

    def _soon(self) -> None:
        """Several ticks in quick succession make one run."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(DEBOUNCE, self.start)
        self._timer.daemon = True
        self._timer.start()

    def start(self) -> None:
        """Evaluate what is ticked now, in a thread; a run that is under way is cancelled first."""
        if self.chosen:
            super().start()
        else:
            self.cancel()
            self.wait()
            self._set("ready", f"choose at least one of the {self.label}")

    def _argument(self) -> list[int]:
        return self.chosen

    def __repr__(self) -> str:
        boxes = f"Tick boxes ({self.label}): {', '.join(self.choices)}."
        return textwrap.fill(f"{self.description} {boxes} It needs a running kernel.", 100)


generate_control, choice_control = GenerateControl, ChoiceControl
