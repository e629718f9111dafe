"""A widget's page side without JupyterLab: its script in a real browser, on a model that holds its synced traits."""

from __future__ import annotations

import json
from typing import Any

from exsa_lab.widgets.live import LiveWidget

LOAD = """async ({esm, data}) => {
  const module = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  const listeners = {};
  const emit = (name, ...values) => (listeners[name] ?? []).forEach((callback) => callback(...values));
  const model = {
    data, saved: [], sent: [], emit,
    get: (name) => model.data[name],
    set: (name, value) => {
      const changes = typeof name === "string" ? { [name]: value } : name;
      const changed = Object.keys(changes).filter((key) => model.data[key] !== changes[key]);
      Object.assign(model.data, changes);
      for (const key of changed) emit(`change:${key}`);
    },
    save_changes: () => model.saved.push(structuredClone(model.data)),
    on: (name, callback) => (listeners[name] ??= []).push(callback),
    off: (name, callback) => (listeners[name] = (listeners[name] ?? []).filter((other) => other !== callback)),
    send: (message) => model.sent.push(message),
  };
  const widget = module.default();
  const close = widget.initialize({ model });
  const release = widget.render({ model, el: document.getElementById("out") });
  Object.assign(window, { model, listeners, close, release });
}"""
PAGE = """<!doctype html><meta charset=utf-8><style>{css}</style>
<body class="exsa" style="margin:12px; background:var(--exsa-bg)"><div id=out></div>"""

CONTRAST = """(root) => {
  const channel = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (el) => {
    for (; el; el = el.parentElement) {
      const colour = rgba(getComputedStyle(el).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const el = node.parentElement;
    if (!node.textContent.trim() || !el.checkVisibility({ visibilityProperty: true })) continue;
    if (el.closest("title, option, :disabled")) continue;
    const style = getComputedStyle(el);
    const colour = rgba(el.ownerSVGElement ? style.fill : style.color);
    let opacity = 1;
    for (let at = el; at && at !== root.parentElement; at = at.parentElement) opacity *= getComputedStyle(at).opacity;
    const behind = ground(el);
    const seen = colour.map((value, i) => value * opacity + behind[i] * (1 - opacity));
    const [a, b] = [light(seen), light(behind)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${node.textContent.trim().slice(0, 40)}`);
  }
  return found;
}"""
"""Texts of less than 4.5:1 against what is behind them."""


def load(page: Any, widget: LiveWidget) -> None:
    """Show the widget in an element of its own; `window.model` is then the page's model."""
    data = widget.get_state([name for name in widget.keys if not name.startswith("_")])
    data = {name: value for name, value in data.items() if isinstance(value, int | float | str | list | dict)}
    page.set_content(PAGE.format(css=widget._css))
    page.evaluate(LOAD, {"esm": str(widget._esm), "data": json.loads(json.dumps(data))})
