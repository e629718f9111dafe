"""The tuner's controls: from widgets to a `Setting` and its prompts."""

from __future__ import annotations

from typing import Any

import ipywidgets as w

from exsa_lab.bench.workloads import WORKLOADS
from exsa_lab.config import DRAFTER_NAMES, MAX_DRAFT_LENGTH
from exsa_lab.errors import ConfigError
from exsa_lab.experiments import Setting

OWN = "my own"
_WIDE = {"description_width": "8.5em"}


class Controls:
    """Everything that can be set for a run."""

    def __init__(self, prompts: list[str] | None, max_concurrency: int, setting: Setting) -> None:
        style: dict[str, Any] = {"style": _WIDE, "layout": w.Layout(width="21em")}
        self.drafter = w.Dropdown(options=DRAFTER_NAMES, value=setting.drafter, description="drafter", **style)
        lengths = ["auto", *range(MAX_DRAFT_LENGTH + 1)]
        self.draft_length = w.Dropdown(options=lengths, value=setting.draft_length, description="draft length", **style)
        self.max_tokens = w.BoundedIntText(setting.max_tokens, min=1, max=1 << 20, description="max tokens", **style)
        self.temperature = w.FloatSlider(
            setting.temperature, min=0, max=2, step=0.05, description="temperature", readout_format=".2f", **style
        )
        self.top_k = w.BoundedIntText(setting.top_k, min=0, max=1 << 20, description="top-k (0: all)", **style)
        self.top_p = w.FloatSlider(setting.top_p, min=0.05, max=1, step=0.01, description="top-p", **style)
        self.min_p = w.FloatSlider(setting.min_p, min=0, max=1, step=0.01, description="min-p", **style)
        self.prompt_set = w.Dropdown(
            options=[*WORKLOADS, OWN], value=OWN if prompts else "chat", description="prompts", **style
        )
        self.num_prompts = w.BoundedIntText(len(prompts or ()) or 4, min=1, max=10_000, description="how many", **style)
        self.own = w.Textarea(
            "\n\n".join(prompts or ()),
            placeholder="Your prompts, separated by empty lines",
            tooltip="Your prompts, separated by empty lines",
            layout=w.Layout(width="42.5em", height="6em"),
        )
        self.concurrency = w.IntSlider(
            min(setting.concurrency, max_concurrency), min=1, max=max_concurrency, description="at once", **style
        )
        self.seeds = w.Text(", ".join(map(str, setting.seeds)), description="seeds", **style)
        self._chat = setting.chat
        self._show_own()
        self.prompt_set.observe(lambda _: self._show_own(), "value")
        self.box = self._arrange()

    def _arrange(self) -> w.Widget:
        columns = (
            (self.drafter, self.draft_length, self.max_tokens, self.concurrency),
            (self.temperature, self.top_k, self.top_p, self.min_p),
            (self.prompt_set, self.num_prompts, self.seeds),
        )
        return w.VBox([w.HBox([w.VBox(c) for c in columns], layout=w.Layout(flex_flow="row wrap")), self.own])

    def _show_own(self) -> None:
        self.own.layout.display = "" if self.prompt_set.value == OWN else "none"

    def observe(self, handler: Any) -> None:
        """Call ``handler(change)`` whenever something is set."""
        for control in vars(self).values():
            if isinstance(control, w.ValueWidget):
                control.observe(handler, "value")

    def prompts(self) -> list[str]:
        """Return the prompts to run; raises ConfigError where there is none."""
        if self.prompt_set.value != OWN:
            return list(WORKLOADS[self.prompt_set.value][: self.num_prompts.value])
        own = [prompt.strip() for prompt in self.own.value.split("\n\n") if prompt.strip()]
        if not own:
            raise ConfigError("there is no prompt.", hint="Write one into the box, or choose a prompt set.")
        return own[: self.num_prompts.value]

    def setting(self) -> Setting:
        """Return what is set; raises ConfigError where it cannot be."""
        try:
            seeds = tuple(int(seed) for seed in self.seeds.value.replace(",", " ").split())
        except ValueError:
            raise ConfigError(f"seeds are {self.seeds.value!r}.", hint="Whole numbers, such as 1, 2, 3.") from None
        names = ("drafter", "draft_length", "max_tokens", "temperature", "top_k", "top_p", "min_p", "concurrency")
        values = {name: getattr(self, name).value for name in names}
        # Sliders count in floating point: 0.30000000000000004 is meant as 0.3.
        values = {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}
        return Setting(**values, seeds=seeds, chat=self._chat)
