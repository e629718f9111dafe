// The batch view's drawing: lanes and panels on a canvas, and what is where.

import { make, STATES } from "./common.js";
import { firstAfter, highest, isFinal } from "./timeline_store.js";

const COLORS = ["fg", "muted", "line", "own", "accepted", "refused", "target", "bg"];
export const LANE = 22; // height of a lane, and of the gap under it
export const GAP = 4;
export const PANEL = 40;
export const AXIS = 20;

/** Colours and patterns of the page's theme, read anew at each drawing. */
export function makePaint(root, context) {
  const probes = COLORS.map((name) => {
    const probe = root.appendChild(make("i", "exsa-probe"));
    probe.style.color = `var(--exsa-${name})`;
    return [name, probe];
  });

  function pattern(color, draw) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6;
    const pen = tile.getContext("2d");
    pen.strokeStyle = pen.fillStyle = color;
    draw(pen);
    return context.createPattern(tile, "repeat");
  }

  function hatch(pen) {
    pen.lineWidth = 1.6;
    for (const shift of [-6, 0, 6]) {
      pen.moveTo(shift, 6);
      pen.lineTo(shift + 6, 0);
    }
    pen.stroke();
  }

  return () => {
    const paint = Object.fromEntries(probes.map(([name, probe]) => [name, getComputedStyle(probe).color]));
    paint.hatch = pattern(paint.refused, hatch);
    paint.dots = pattern(paint.target, (pen) => pen.fillRect(1, 1, 3, 3));
    return paint;
  };
}

/** A sharp line, straight across or straight down. */
function drawLine(pen, x0, y0, x1, y1) {
  pen.beginPath();
  pen.moveTo(x0 + (x0 === x1) / 2, y0 + (y0 === y1) / 2);
  pen.lineTo(x1 + (x0 === x1) / 2, y1 + (y0 === y1) / 2);
  pen.stroke();
}

export function drawTicks(pen, paint, view, height) {
  const { t0, t1, x } = view;
  const rough = (t1 - t0) / Math.max(2, view.width / 110);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
  pen.textAlign = "center";
  for (let tick = Math.ceil(t0 / step) * step; tick <= t1; tick += step) {
    pen.fillStyle = paint.line;
    pen.fillRect(Math.round(x(tick)), AXIS - 4, 1, height);
    pen.fillStyle = paint.muted;
    const label = `${+tick.toFixed(4)} s`;
    pen.fillText(label, Math.min(Math.max(x(tick), 14), view.width - 16), 12);
  }
}

export function drawIdles(pen, paint, view, store, height) {
  pen.fillStyle = pen.strokeStyle = paint.muted;
  for (const [, t, idle] of store.idles) {
    if (t < view.t0 || t > view.t1) continue;
    pen.setLineDash([1, 4]);
    drawLine(pen, Math.round(view.x(t)), AXIS + 14, Math.round(view.x(t)), AXIS + height);
    pen.setLineDash([]);
    pen.fillText(`${Math.round(idle)} s idle`, view.x(t), AXIS + 10);
  }
}

/** The step that is looked at: a band across all lanes and panels. */
export function drawStep(pen, paint, view, [, t0, t1], height) {
  const [left, right] = [view.x(t0), Math.max(view.x(t1), view.x(t0) + 2)];
  pen.save();
  pen.globalAlpha = 0.14;
  pen.fillStyle = paint.fg;
  pen.fillRect(left, AXIS - 4, right - left, height);
  pen.restore();
  pen.strokeStyle = paint.fg;
  drawLine(pen, Math.round(left), AXIS - 4, Math.round(left), AXIS - 4 + height);
  drawLine(pen, Math.round(right), AXIS - 4, Math.round(right), AXIS - 4 + height);
}

export function drawLane(pen, paint, view, store, lane, top) {
  const { x } = view;
  const bottom = top + LANE;
  pen.fillStyle = paint.line;
  pen.fillRect(0, bottom, view.width, 1);
  pen.strokeStyle = paint.muted;
  pen.setLineDash([2, 3]);
  for (const [from, to] of lane.waits) {
    const until = to ?? (isFinal(lane) ? lane.end : view.now);
    if (until > from) drawLine(pen, x(from), top + LANE / 2, x(until), top + LANE / 2);
  }
  pen.setLineDash([]);
  for (const [, , t0, t1, , cached] of lane.prefills) {
    pen.fillStyle = cached ? paint.dots : paint.target;
    if (cached) {
      pen.strokeStyle = paint.target;
      pen.fillRect(x(t0) - 1, top + 2, 5, LANE - 2);
      pen.strokeRect(x(t0) - 1, top + 2.5, 5, LANE - 3);
    } else pen.fillRect(x(t0), top + 2, Math.max(2, x(t1) - x(t0) - 0.75), LANE - 2);
  }
  drawRounds(pen, paint, view, store, lane, bottom);
  pen.strokeStyle = paint.refused;
  for (const [, , t0, t1] of lane.held) {
    pen.strokeRect(x(t0) + 0.5, top + 5.5, Math.max(1, x(t1) - x(t0) - 1), LANE - 8);
    pen.fillStyle = paint.hatch;
    pen.fillRect(x(t0), bottom - 4, Math.max(1, x(t1) - x(t0)), 3);
  }
  if (isFinal(lane)) {
    pen.fillStyle = lane.state === "finished" ? paint.muted : paint.refused;
    pen.textAlign = "left";
    pen.fillText(STATES[lane.state], x(lane.end) + 3, top + LANE / 2 + 4);
  }
}

function drawRounds(pen, paint, view, store, lane, bottom) {
  const { x } = view;
  let column = null;
  const flush = () => column && drawColumn(pen, paint, column, store.most, bottom);
  for (let i = firstAfter(lane.rounds, 3, view.t0); i < lane.rounds.length; i++) {
    const [, , t0, t1, rounds, drafted, accepted, committed] = lane.rounds[i];
    if (t0 > view.t1) break;
    if (!column || x(t1) - column.left > 3) {
      flush();
      column = { left: x(t0), right: 0, rounds: 0, drafted: 0, accepted: 0, committed: 0 };
    }
    column.right = x(t1);
    column.rounds += rounds;
    column.drafted += drafted;
    column.accepted += accepted;
    column.committed += committed;
  }
  flush();
}

function drawColumn(pen, paint, { left, right, rounds, drafted, accepted, committed }, most, bottom) {
  const width = right - left;
  const drawn = Math.max(1, width > 5 ? width - 1 : width);
  const unit = (LANE - 1) / most / rounds;
  const own = Math.max(0, committed - accepted);
  let y = bottom;
  for (const [tokens, fill] of [
    [own, paint.own],
    [accepted, paint.accepted],
    [drafted - accepted, paint.hatch],
  ]) {
    const height = tokens * unit;
    if (!height) continue;
    pen.fillStyle = fill;
    pen.fillRect(left, y - height, drawn, height);
    y -= height;
  }
  if (width < 30 || !drafted) return;
  pen.textAlign = "center";
  pen.lineWidth = 3;
  pen.strokeStyle = paint.bg;
  pen.strokeText(`${accepted}/${drafted}`, left + width / 2, bottom - LANE / 2 + 4);
  pen.fillStyle = paint.fg;
  pen.fillText(`${accepted}/${drafted}`, left + width / 2, bottom - LANE / 2 + 4);
  pen.lineWidth = 1;
}

export function drawPanel(pen, paint, view, store, panel, top) {
  const visible = store.steps.slice(firstAfter(store.steps, 2, view.t0)).filter((row) => row[1] <= view.t1);
  // Of slots the whole is worth seeing; of the cache a few prompts use so little that nothing would be seen.
  const whole = (panel.isOfLimit && store.limits[panel.limit]) || 1;
  const scale = (PANEL - 4) / Math.max(whole, highest(panel, visible));
  pen.fillStyle = paint.line;
  pen.fillRect(0, top + PANEL, view.width, 1);
  for (const row of visible) {
    // Whole device pixels: neighbours meet without a seam.
    const left = Math.floor(view.x(row[1]) * devicePixelRatio) / devicePixelRatio;
    const width = Math.ceil(Math.max(0.75, view.x(row[2]) - left) * devicePixelRatio) / devicePixelRatio;
    let y = top + PANEL;
    for (const [name, column] of panel.parts) {
      const height = (row[column] / (panel.means ? row[3] : 1)) * scale;
      pen.fillStyle = paint[name];
      pen.fillRect(left, y - height, width, height);
      y -= height;
    }
  }
}
