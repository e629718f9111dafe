// The table of jobs. The kernel sends whole rows (a few kB, four times a second at most); cells that did not change
// are left alone, so that a selection or the focus on a button survives.

import { make, makeWidget } from "./common.js";

const MEANINGS = {
  tokens: "Tokens generated, of the most it may generate",
  "tok/s": "Tokens generated per second, after the first",
  cached: "Prompt tokens taken from the prefix cache, of all",
  "draft length": "Draft tokens proposed in its last round",
  waited: "Time until it got a slot",
};

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function stopButton(model, id, label) {
  const button = make("button", "exsa-jobs-stop", "Stop");
  button.type = "button";
  button.setAttribute("aria-label", label);
  button.title = "Stops once the kernel is free: while a cell runs, interrupt the kernel instead.";
  button.addEventListener("click", () => {
    button.disabled = true;
    button.textContent = "Stopping";
    model.send({ type: "stop", id });
  });
  return button;
}

function mount(model, el) {
  const root = make("div", "exsa exsa-jobs");
  const head = make("div", "exsa-jobs-head");
  const title = make("span", "exsa-jobs-title");
  const table = make("table");
  const body = make("tbody");
  const headRow = make("tr");
  // The prompt comes last, takes the room that is left and is cut; the buttons stand before it.
  const columns = [...model.get("header")];
  columns.splice(columns.length - 1, 0, "");
  const buttons = columns.indexOf("");
  for (const name of columns)
    Object.assign(headRow.appendChild(make("th", "", name)), { scope: "col", title: MEANINGS[name] ?? "" });
  const headGroup = make("thead");
  headGroup.append(headRow);
  table.append(headGroup, body);
  head.append(title);
  root.append(head, table);
  el.append(root);
  let stopAll = null;

  function fill(line, row) {
    columns.forEach((name, i) => name && setText(line.cells[i], row[name]));
    line.dataset.state = row.is_active ? row.state.split(" ")[0] : "over";
    const place = line.cells[buttons];
    if (row.is_active && !place.firstChild) place.append(stopButton(model, row.id, `Stop generation ${row.id}`));
    if (!row.is_active && place.firstChild) place.replaceChildren();
  }

  function draw() {
    setText(title, model.get("title"));
    const rows = model.get("rows");
    const known = new Map([...body.rows].map((line) => [line.dataset.id, line]));
    rows.forEach((row, i) => {
      let line = known.get(row.id);
      known.delete(row.id);
      if (!line) {
        line = make("tr");
        line.dataset.id = row.id;
        columns.forEach(() => line.insertCell());
      }
      fill(line, row);
      if (body.rows[i] !== line) body.insertBefore(line, body.rows[i] ?? null);
    });
    known.forEach((line) => line.remove());
    const active = rows.filter((row) => row.is_active).length;
    if (active > 1 && !stopAll) {
      stopAll = stopButton(model, "all", "Stop all generations");
      stopAll.textContent = "Stop all";
      head.append(stopAll);
    } else if (active <= 1 && stopAll) {
      stopAll.remove();
      stopAll = null;
    }
  }

  model.on("change:rows", draw);
  model.on("change:title", draw);
  draw();
  return () => {
    model.off("change:rows", draw);
    model.off("change:title", draw);
    root.remove();
  };
}

export default makeWidget(mount);
