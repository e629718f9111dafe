// Tabs of a strip's texts: the generation's own, and its branches. There are none while nothing has branched off.

import { make } from "./common.js";

const quote = (text) => `“${(text.trim() || text).replaceAll("\n", "↵")}”`;

function titleOf(store, number) {
  return store.branch ? `${number}: ${quote(store.branch.label)}` : "original";
}

function helpOf(store) {
  if (!store.branch) return "The generation's own text";
  const from = store.branch.parent ? `branch ${store.branch.parent}` : "the original";
  return `Left ${from} at token ${store.branch.position} with ${quote(store.branch.label)}`;
}

/** `onSelect(number)` is called with the text that is to be shown. */
export function makeTabs(family, onSelect) {
  const bar = make("div", "exsa-tabs");
  bar.setAttribute("role", "tablist");
  bar.setAttribute("aria-label", "Original and branches");
  bar.dataset.lmSuppressShortcuts = "true"; // keys here are not the notebook's
  bar.hidden = true;

  function addTab(number) {
    const tab = bar.appendChild(make("button", "exsa-tab", titleOf(family.stores[number], number)));
    tab.type = "button";
    tab.title = helpOf(family.stores[number]);
    tab.setAttribute("role", "tab");
    tab.ariaLabel = number ? `Branch ${number}. ${tab.title}` : tab.title;
    tab.addEventListener("click", () => onSelect(number));
  }

  function update() {
    for (let number = bar.childElementCount; number < family.stores.length; number += 1) addTab(number);
    bar.hidden = family.stores.length < 2;
    for (const [number, tab] of [...bar.children].entries()) {
      const isShown = number === family.shown;
      tab.setAttribute("aria-selected", String(isShown));
      tab.tabIndex = isShown ? 0 : -1;
      tab.classList.toggle("running", !family.stores[number].head?.final);
    }
  }

  bar.addEventListener("keydown", (event) => {
    const last = family.stores.length - 1;
    const moves = { ArrowRight: family.shown + 1, ArrowLeft: family.shown - 1, Home: 0, End: last };
    const to = moves[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (to < 0 || to > last) return;
    onSelect(to);
    bar.children[to].focus();
  });

  const focus = () => bar.children[family.shown]?.focus();

  return { bar, update, focus };
}
