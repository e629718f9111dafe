// The explorer's curve as an SVG: speed-up by draft length, break-even line, best k, measured points. Pointing and
// dragging in it chooses k.

import { bestOf, MAX_LENGTH } from "./explore_model.js";

const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [300, 48, 14, 14, 40];
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes, text) {
  const el = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
  if (text !== undefined) el.textContent = text;
  return el;
}

/** Distance of grid lines: some five of them up to the top. */
export function gridStep(top) {
  return [0.25, 0.5, 1, 2, 5, 10].find((step) => top / step <= 7) ?? 20;
}

/** `isAbove`: whether the curve ends above plain decoding, so that the line's name has to stand below it. */
function drawGrid(x, y, top, width, isAbove) {
  const parts = [];
  const step = gridStep(top);
  for (let speed = 0; speed <= top; speed += step) {
    parts.push(svg("path", { class: "grid", d: `M${LEFT} ${y(speed)}H${width - RIGHT}` }));
    parts.push(svg("text", { x: LEFT - 6, y: y(speed) + 4, "text-anchor": "end" }, `x${speed}`));
  }
  const every = width < 420 ? 4 : width < 640 ? 2 : 1;
  for (let k = 0; k <= MAX_LENGTH; k += every)
    parts.push(svg("text", { x: x(k), y: HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, k));
  parts.push(svg("text", { x: (LEFT + width) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "draft length k"));
  parts.push(svg("path", { class: "even", d: `M${LEFT} ${y(1)}H${width - RIGHT}` }));
  const name = "break even: plain decoding";
  parts.push(svg("text", { x: width - RIGHT - 2, y: y(1) + (isAbove ? 15 : -5), "text-anchor": "end" }, name));
  return parts;
}

function drawPoint(point, x, y) {
  const group = svg("g", { class: "point" });
  const at = x(Math.min(MAX_LENGTH, point.draft_length));
  group.append(
    svg("path", { d: `M${at} ${y(point.low)}V${y(point.high)}` }),
    svg("rect", { x: at - 4.5, y: y(point.speed_up) - 4.5, width: 9, height: 9 }),
  );
  group.append(svg("title", {}, `${point.name}: x${point.speed_up.toFixed(2)}`));
  return group;
}

/** A text beside a point that stays within the picture. */
function drawName(name, at, width, isLow) {
  const isRight = at.x > width / 2;
  const place = { x: at.x + (isRight ? -12 : 12), y: at.y + (isLow ? 20 : -8) };
  return svg("text", { class: "name", ...place, "text-anchor": isRight ? "end" : "start" }, name);
}

export function drawCurve(box, { curve, setting, points, choose, done }) {
  const width = Math.max(280, box.clientWidth || 640);
  const top = 1.1 * Math.max(1.2, ...curve.map(({ speedUp }) => speedUp), ...points.map(({ high }) => high));
  const inner = { width: width - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM };
  const x = (k) => LEFT + (inner.width * k) / MAX_LENGTH;
  const y = (speed) => TOP + inner.height * (1 - speed / top);
  const at = ({ length, speedUp }) => ({ x: x(length), y: y(speedUp) });
  const best = bestOf(curve);
  const now = curve[setting.length];
  const picture = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" });
  const name = best.length ? `best: k = ${best.length}, x${best.speedUp.toFixed(2)}` : "best: k = 0, no draft pays";
  picture.setAttribute(
    "aria-label",
    `Speed-up by draft length; ${name}; now k = ${now.length}, x${now.speedUp.toFixed(2)}`,
  );
  picture.append(
    ...drawGrid(x, y, top, width, curve.at(-4).speedUp > 1),
    svg("path", { class: "now", d: `M${x(now.length)} ${TOP}V${HEIGHT - BOTTOM}` }),
    svg("polyline", { class: "curve", points: curve.map((round) => `${at(round).x},${at(round).y}`).join(" ") }),
    ...curve.map((round) => svg("circle", { class: "dot", cx: at(round).x, cy: at(round).y, r: 3 })),
    svg("circle", { class: "best", cx: at(best).x, cy: at(best).y, r: 9 }),
    svg("circle", { class: "here", cx: at(now).x, cy: at(now).y, r: 5 }),
    ...points.map((point) => drawPoint(point, x, y)),
    drawName(name, at(best), width, false),
  );
  if (now.length !== best.length)
    picture.append(drawName(`k = ${now.length}, x${now.speedUp.toFixed(2)}`, at(now), width, true));
  listen(
    picture,
    (place) => choose(Math.round(Math.min(1, Math.max(0, (place - LEFT) / inner.width)) * MAX_LENGTH)),
    done,
  );
  box.replaceChildren(picture);
}

/** The picture is drawn anew while it is dragged, so the window hears the rest of the drag. */
function listen(picture, choose, done) {
  picture.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    const left = picture.getBoundingClientRect().left;
    const move = ({ clientX }) => choose(clientX - left);
    const end = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      window.removeEventListener("pointercancel", end);
      done();
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
    window.addEventListener("pointercancel", end);
    move(event);
  });
}
