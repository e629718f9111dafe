"""The strip's page side without JupyterLab: a hand-made model in a real browser."""

from __future__ import annotations

from typing import Any

from exsa_lab.events import Event
from exsa_lab.widgets.rows import Tally, to_rows
from exsa_lab.widgets.token_strip import TokenStrip

PAGE = "<!doctype html><meta charset=utf-8><style>{css}</style><body><div id=out></div>{body}"
LOAD = """async ({esm, data}) => {
  const module = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  const widget = module.default();
  const listeners = {};
  const model = {
    data, sent: [],
    get: (name) => model.data[name],
    on: (name, callback) => (listeners[name] ??= []).push(callback),
    off: (name, callback) => (listeners[name] = listeners[name].filter((other) => other !== callback)),
    send: (message) => model.sent.push(message),
    emit: (name, ...values) => (listeners[name] ?? []).forEach((callback) => callback(...values)),
  };
  Object.assign(window, { model, widget, release: widget.initialize({ model }) });
}"""

FRAMES = """async () => {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => requestAnimationFrame(resolve));
}"""


def load(page: Any, *, body: str = "", snapshot: dict[str, Any] | None = None, render: bool = True) -> None:
    page.set_content(PAGE.format(css=TokenStrip._css, body=body))
    page.evaluate(LOAD, {"esm": str(TokenStrip._esm), "data": {"view_id": "one", "snapshot": snapshot or {}}})
    if render:
        page.evaluate("void widget.render({ model, el: document.getElementById('out') })")


def delta(events: list[Event], *, before: list[Event] | None = None) -> dict[str, Any]:
    tally = Tally()
    tally.add([*(before or []), *events])
    return {"type": "delta", "start": len(to_rows(before or [])), "rows": to_rows(events), "head": tally.head()}


def send(page: Any, events: list[Event], **values: Any) -> None:
    page.evaluate("message => model.emit('msg:custom', message)", delta(events, **values))
