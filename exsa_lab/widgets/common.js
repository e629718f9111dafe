// What the scripts of several widgets share.

/** Signs of a generation's states. */
export const STATES = { waiting: "○", running: "◐", finished: "●", cancelled: "■", failed: "▲" };

export function make(tag, className, text) {
  const el = document.createElement(tag);
  if (className) el.className = className;
  if (text !== undefined) el.textContent = text;
  return el;
}

/** A probability to read; a dash where it was not computed. */
export function probability(value) {
  if (value === null || value === undefined) return "–";
  return value > 0 && value < 0.001 ? value.toExponential(1) : value.toFixed(3);
}

// Static outputs that a page replaces by a live view while it has the widget they belong to: <exsa-view data-view=ID>.

/** The page's views by id. Shared by all copies of this code, since each widget loads its own. */
const liveViews = (globalThis[Symbol.for("exsa_lab.views")] ??= { mounts: new Map(), elements: new Set() });

const elementsOf = (id) => [...liveViews.elements].filter((element) => element.dataset.view === id);

const REDRAWN_MS = 1000; // a notebook that draws an output anew has its new element within so long

/** A live view in a box of its own, which can move to another element and keeps its focus and scroll positions. */
function makeLive(element, mountLive) {
  const box = element.appendChild(make("div"));
  const scrolled = new Map();
  let focused = null;
  box.addEventListener("focusin", ({ target }) => (focused = target));
  // Where the box itself was taken away, the one who used it did not leave.
  const forget = () => box.isConnected && !box.contains(document.activeElement) && (focused = null);
  box.addEventListener("focusout", () => setTimeout(forget));
  box.addEventListener("scroll", ({ target }) => scrolled.set(target, target.scrollTop), { capture: true });
  const unmount = mountLive(box);
  return {
    box,
    moveTo(element) {
      element.append(box);
      for (const [part, top] of scrolled) part.scrollTop = top;
      if (document.activeElement === document.body) focused?.focus({ preventScroll: true });
    },
    end: unmount,
  };
}

function registerLiveElement() {
  if (customElements.get("exsa-view")) return;
  // Without this definition (no kernel, no script) the element just shows its children: the static view.
  class ExsaView extends HTMLElement {
    connectedCallback() {
      liveViews.elements.add(this);
      this.connect();
    }
    disconnectedCallback() {
      setTimeout(() => {
        if (this.isConnected) return;
        liveViews.elements.delete(this);
        this.disconnect();
      }, REDRAWN_MS);
    }
    connect() {
      const id = this.dataset.view;
      const mountLive = liveViews.mounts.get(id);
      if (!mountLive) return;
      const live =
        this.takeLive() ??
        elementsOf(id)
          .find((other) => other.live && !other.isConnected)
          ?.takeLive();
      const statics = [...this.children];
      try {
        live?.moveTo(this);
        this.live = live ?? makeLive(this, mountLive);
        for (const child of statics) child.hidden = true;
      } catch (error) {
        this.replaceChildren(...statics, makeProblem(`The live view failed, this is the static one: ${error}`));
        console.error(error);
      }
    }
    disconnect() {
      this.takeLive()?.end();
    }
    takeLive() {
      const { live } = this;
      live?.box.remove();
      this.live = null;
      for (const child of this.children) child.hidden = false;
      return live;
    }
  }
  customElements.define("exsa-view", ExsaView);
}

/** Show `mountLive(element)` in every static output with this id, now and later; returns how to stop that. */
function showInOutputs(id, mountLive) {
  registerLiveElement();
  liveViews.mounts.set(id, mountLive);
  for (const element of elementsOf(id)) element.connect();
  return () => {
    liveViews.mounts.delete(id);
    for (const element of elementsOf(id)) element.disconnect();
  };
}

export function makeProblem(text) {
  const line = make("div", "exsa exsa-problem", text);
  line.setAttribute("role", "alert");
  return line;
}

/** What anywidget calls: `mount(model, element)` puts a view into an element and returns how to take it away. The
 *  kernel's trait `problem` is shown beneath every view. */
export function makeWidget(mount, initialize = () => {}) {
  function mountWithProblem(model, el) {
    const unmount = mount(model, el);
    const line = el.appendChild(makeProblem(""));
    const update = () => (line.textContent = model.get("problem") ?? "");
    model.on("change:problem", update);
    update();
    return () => {
      model.off("change:problem", update);
      line.remove();
      unmount();
    };
  }
  return {
    initialize({ model }) {
      initialize(model);
      return showInOutputs(model.get("view_id"), (el) => mountWithProblem(model, el));
    },
    render({ model, el }) {
      const view = make("exsa-view");
      view.dataset.view = model.get("view_id");
      el.append(view);
      return () => view.remove();
    },
  };
}
