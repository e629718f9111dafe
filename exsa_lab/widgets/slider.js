// A slider with its name and its value in words, for all widgets. The browser's own range input: arrow keys, page up
// and down, home and end work, and screen readers read `show(value)`.

import { make } from "./common.js";

/** `onInput(value)` while it moves, `onChange(value)` when it is let go. `set` moves it without calling either. */
export function makeSlider({ label, min, max, step, value, show = String, onInput = () => {}, onChange = () => {} }) {
  const element = make("label", "exsa-slider");
  const input = make("input");
  Object.assign(input, { type: "range", min, max, step });
  const shown = make("span", "exsa-slider-value");
  const name = make("span", "exsa-slider-name", label);
  element.append(name, input, shown);
  const tell = () => {
    shown.textContent = show(Number(input.value));
    input.setAttribute("aria-valuetext", shown.textContent);
    input.ariaLabel = label;
  };
  const slider = {
    element,
    input,
    get value() {
      return Number(input.value);
    },
    set(to) {
      input.value = to;
      tell();
    },
  };
  input.addEventListener("input", () => {
    tell();
    onInput(slider.value);
  });
  input.addEventListener("change", () => onChange(slider.value));
  // Keys that move a slider must not scroll or command the notebook around it.
  input.addEventListener("keydown", (event) => event.stopPropagation());
  slider.set(value);
  return slider;
}

/** A slider for a number of the kernel's model: it moves the model, and the model moves it. Returns it with `release`. */
export function bindSlider(model, trait, options) {
  const { toModel = (value) => value, toSlider = (value) => value, ...rest } = options;
  const slider = makeSlider({
    ...rest,
    value: toSlider(model.get(trait)),
    onInput: (value) => model.set(trait, toModel(value)),
    onChange: () => model.save_changes(),
  });
  const follow = () => slider.set(toSlider(model.get(trait)));
  model.on(`change:${trait}`, follow);
  return Object.assign(slider, { release: () => model.off(`change:${trait}`, follow) });
}
