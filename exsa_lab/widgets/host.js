// Shows another widget in the place of a static output.

import { make, makeProblem, makeWidget } from "./common.js";

async function showChild(model, place) {
  const manager = model.widget_manager;
  const child = await manager.get_model(model.get("child").replace("IPY_MODEL_", ""));
  const view = await manager.create_view(child);
  place.replaceChildren(view.el);
  // Lumino's widgets learn so that they are in the page; its own way of attaching is not within reach here.
  const tell = (type) => view.luminoWidget?.processMessage({ type, isConflatable: false, conflate: () => false });
  tell("before-attach");
  tell("after-attach");
  return () => {
    tell("before-detach");
    view.remove();
  };
}

/** Give controls the names that ipywidgets leaves out: a slider's stands beside it, a text box's is its tooltip. */
function nameControls(place) {
  for (const control of place.querySelectorAll("[role=slider]:not([aria-label]), textarea[title]:not([aria-label])")) {
    const label = control.title || control.closest(".widget-inline-hbox")?.querySelector(".widget-label")?.textContent;
    if (label) control.ariaLabel = label;
  }
}

function mount(model, el) {
  const place = el.appendChild(make("div", "exsa-host"));
  const naming = new MutationObserver(() => nameControls(place)); // the parts of a child come one after the other
  naming.observe(place, { childList: true, subtree: true, attributeFilter: ["title"] });
  let isGone = false;
  let release = () => {};
  showChild(model, place)
    .then((done) => (isGone ? done() : (release = done)))
    .catch((error) => place.append(makeProblem(`These controls cannot be shown: ${error}`)));
  return () => {
    isGone = true;
    naming.disconnect();
    release();
    place.remove();
  };
}

export default makeWidget(mount);
