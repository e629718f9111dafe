// Texts with buttons that copy them.

import { make } from "./common.js";

/** Copy a text, and say what became of that. */
async function copy(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
    return "Copied.";
  } catch {
    // A page without https, or a browser that was told no: mark it, so that a key copies it.
    shown.closest("details").open = true;
    getSelection().selectAllChildren(shown);
    return "The browser does not let this page copy; the text is marked, so press Ctrl+C (⌘C).";
  }
}

function render({ model, el }) {
  const root = el.appendChild(make("div", "exsa exsa-copyable"));
  const bar = root.appendChild(make("div", "exsa-copy-bar"));
  const said = make("span", "exsa-copy-said");
  said.setAttribute("role", "status");
  const folded = root.appendChild(make("details"));
  folded.append(make("summary", "", model.get("title")));
  const parts = model.get("texts").map(([name], index) => {
    const button = bar.appendChild(make("button", "", `Copy ${name}`));
    button.type = "button";
    folded.append(make("div", "exsa-copy-name", name));
    const shown = folded.appendChild(make("pre"));
    shown.tabIndex = 0;
    shown.setAttribute("role", "textbox");
    shown.ariaReadOnly = "true";
    shown.ariaMultiLine = "true";
    shown.ariaLabel = name;
    button.addEventListener("click", async () => (said.textContent = await copy(model.get("texts")[index][1], shown)));
    return shown;
  });
  bar.append(said);

  function update() {
    model.get("texts").forEach(([, text], index) => (parts[index].textContent = text));
    said.textContent = "";
  }

  model.on("change:texts", update);
  update();
  return () => {
    model.off("change:texts", update);
    root.remove();
  };
}

export default { render };
