// What the scripts of several widgets share; it goes before them, see scripts.py.

function make(tag, className, text) {
  const el = document.createElement(tag);
  if (className) el.className = className;
  if (text !== undefined) el.textContent = text;
  return el;
}

// Static outputs that a page replaces by a live view while it has the widget they belong to: <exsa-view data-view=ID>.

/** The page's views by id. Shared by all copies of this code, since each widget loads its own. */
const liveViews = (globalThis[Symbol.for("exsa_lab.views")] ??= { mounts: new Map(), elements: new Set() });

function registerLiveElement() {
  if (customElements.get("exsa-view")) return;
  // Without this definition (no kernel, no script) the element just shows its children: the static view.
  class ExsaView extends HTMLElement {
    connectedCallback() {
      liveViews.elements.add(this);
      this.connect();
    }
    disconnectedCallback() {
      liveViews.elements.delete(this);
      this.disconnect();
    }
    connect() {
      const mountLive = liveViews.mounts.get(this.dataset.view);
      if (!mountLive || this.unmount) return;
      for (const child of this.children) child.hidden = true;
      this.unmount = mountLive(this);
    }
    disconnect() {
      this.unmount?.();
      this.unmount = null;
      for (const child of this.children) child.hidden = false;
    }
  }
  customElements.define("exsa-view", ExsaView);
}

/** Show `mountLive(element)` in every static output with this id, now and later; returns how to stop that. */
function showInOutputs(id, mountLive) {
  registerLiveElement();
  const elements = () => [...liveViews.elements].filter((element) => element.dataset.view === id);
  liveViews.mounts.set(id, mountLive);
  for (const element of elements()) element.connect();
  return () => {
    liveViews.mounts.delete(id);
    for (const element of elements()) element.disconnect();
  };
}
