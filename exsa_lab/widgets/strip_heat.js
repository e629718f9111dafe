// Colour by surprisal or entropy: each token gets a level from 0 to 4, which styles show as tint and as thickness of the
// line under it, so that it can be read without colour.

import { make } from "./common.js";

const SURPRISAL = 8; // places in a token's row
const ENTROPY = 9;
const EDGES = [0.5, 1, 2, 4]; // bits
const RANGES = ["under 0.5", "0.5 to 1", "1 to 2", "2 to 4", "4 and more"];
const MODES = [
  ["none", "none"],
  ["surprisal", "surprisal"],
  ["entropy", "entropy"],
];
const MEANINGS = {
  surprisal:
    "Surprisal, −log₂ of the token's probability: before biases, form and sampling chain where top_logprobs recorded " +
    "that, otherwise of p",
  entropy: "Entropy of the distribution that the token was chosen from, before biases, form and sampling chain",
};

/** A token's surprisal or entropy in bits; null where it is not known. */
export function bitsOf(row, mode) {
  if ("xdkc".includes(row[0]) && row.length <= SURPRISAL) return null;
  if (mode === "entropy") return row[ENTROPY] ?? null;
  if (mode !== "surprisal") return null;
  return row[SURPRISAL] ?? (row[3] > 0 ? -Math.log2(row[3]) : null);
}

/** From 0 (expected) to 4; null where there is nothing to show. */
export function levelOf(row, mode) {
  const bits = bitsOf(row, mode);
  return bits === null ? null : EDGES.filter((edge) => bits >= edge).length;
}

/** What is known of a token, in words. */
export function measuresOf(row) {
  const parts = ["surprisal", "entropy"].map((mode) => [mode, bitsOf(row, mode)]);
  return parts
    .filter(([, bits]) => bits !== null)
    .map(([mode, bits]) => `${mode} ${Math.abs(bits).toFixed(2)} bits`)
    .join(", ");
}

/** The choice of what colours mean, and its scale. `hasEntropy()` tells whether any token has one. */
export function makeHeatChoice(first, hasEntropy, onChange) {
  const field = make("label", "exsa-heat-choice", "colour ");
  const select = field.appendChild(make("select"));
  for (const [value, label] of MODES) {
    const option = select.appendChild(make("option", "", label));
    option.value = value;
  }
  select.value = first in MEANINGS ? first : "none";
  const scale = make("span", "exsa-scale");
  scale.setAttribute("role", "img");
  for (const [level, range] of RANGES.entries()) {
    const swatch = scale.appendChild(make("span", "exsa-swatch", range.replace(" to ", "–").replace(" and more", "+")));
    swatch.dataset.level = level;
  }
  scale.append(" bits");

  function update() {
    const entropy = select.options[2];
    entropy.disabled = !hasEntropy();
    entropy.title = entropy.disabled ? "Needs top_logprobs" : "";
    const mode = select.value;
    field.title = MEANINGS[mode] ?? "Colour tokens by how unexpected they were";
    scale.hidden = !(mode in MEANINGS);
    scale.ariaLabel = `Scale in bits, by tint and thickness of the line: ${RANGES.join(", ")}`;
  }

  select.addEventListener("change", () => {
    update();
    onChange(select.value);
  });
  update();
  return { field, scale, update, mode: () => select.value };
}
