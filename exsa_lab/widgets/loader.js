// Loads ES modules that come as texts, for the page gets a widget's script as one text and has no address for others.
// scripts.py adds the call.

/** Addresses of modules by their text. All widgets of a page share them, so each module is loaded once. */
const addresses = (globalThis[Symbol.for("exsa_lab.modules")] ??= new Map());

/** Load the module of this name from texts by name; what it imports of its neighbours is among them. */
export function load(texts, name) {
  function addressOf(name) {
    const text = texts[name].replace(/ from "\.\/(\w+\.js)";$/gm, (_, other) => ` from "${addressOf(other)}";`);
    if (!addresses.has(text)) addresses.set(text, URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    return addresses.get(text);
  }
  return import(addressOf(name));
}
