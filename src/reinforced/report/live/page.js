"use strict";
// Asks for what is new every two seconds and draws it. Text is only ever set as text.
const EVERY = 2000, WIDTH = 400, HEIGHT = 230, LEFT = 46, BOTTOM = 34, TOP = 8, RIGHT = 10;
const FIRST = ["validation_accuracy", "robust_validation_accuracy", "train_accuracy", "robust_train_accuracy", "loss"];
const NO_CURVE = new Set(["epoch", "passes", "seconds", "flops", "forward_passes", "backward_passes",
  "crafting_passes", "regulariser_passes"]);
const known = new Map();  // run -> {start, rows}
const hidden = new Set();
let runs = [], drawn = "";

const by = (id) => document.getElementById(id);
const axis = by("axis");

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function svg(tag, attributes = {}, text = null) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  return element;
}

async function ask(address, query = {}) {
  const answer = await fetch(`${address}?${new URLSearchParams(query)}`, {cache: "no-store"});
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
}

async function refresh() {
  if (!document.hidden) {
    try {
      const seen = await ask("/runs.json");
      runs = seen.runs;
      for (const run of runs) await update(run);
      for (const name of known.keys()) if (!runs.some((run) => run.name === name)) known.delete(name);
      by("folder").textContent = document.title = brief(seen.folder);
      by("report").hidden = !seen.report;
      const open = runs.filter((run) => run.state === "unfinished").length;
      by("state").textContent = runs.length ? `Runs: ${runs.length}, unfinished: ${open}` : "No runs here now";
      list(seen.now);
      draw();
    } catch (error) {
      by("state").textContent = `No answer (${error.message}); still trying`;
    }
  }
  setTimeout(refresh, EVERY);
}

async function update(run) {
  const have = known.get(run.name) ?? {start: "", rows: []};
  known.set(run.name, have);
  if (have.start !== run.start) Object.assign(have, {start: run.start, rows: []});
  while (have.rows.length < run.epochs) {
    const more = await ask("/rows.json", {run: run.name, start: have.start, after: have.rows.length});
    if (more.after !== have.rows.length || !more.rows.length) { Object.assign(have, {start: "", rows: []}); return; }
    have.rows.push(...more.rows);
  }
}

const brief = (text) => text.length > 80 ? `${text.slice(0, 79)}…` : text;
const percent = (value) => Number.isFinite(value) ? `${(100 * value).toFixed(1)}%` : "";

function ago(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
}

function latest(rows, name) {
  for (let at = rows.length - 1; at >= 0; at--) if (Number.isFinite(rows[at][name])) return rows[at][name];
  return NaN;
}

function chip(run) {
  const picture = svg("svg", {class: "chip", viewBox: "0 0 28 12", "aria-hidden": "true"});
  picture.append(svg("path", {class: `line ${run.colour} v${run.variant}`, d: "M0 6H28"}));
  return picture;
}

// Rows are kept, moved only where their order changed, so that a focused checkbox stays focused.
function list(now) {
  const body = by("runs");
  const rows = new Map([...body.children].map((row) => [row.dataset.run, row]));
  runs.forEach((run, place) => {
    const row = rows.get(run.name) ?? entry(run);
    rows.delete(run.name);
    const had = known.get(run.name).rows, end = had[had.length - 1] ?? {};
    const damaged = run.damaged ? `, ${run.damaged} damaged rows` : "";
    const texts = [brief(run.recipe), run.state, `${run.epochs}${run.planned ? ` / ${run.planned}` : ""}${damaged}`,
      percent(latest(had, "validation_accuracy")), percent(latest(had, "robust_validation_accuracy")),
      Number.isFinite(end.images_per_second) ? end.images_per_second.toFixed(0) : "",
      run.changed ? ago(now - run.changed) : ""];
    texts.forEach((text, at) => { if (row.children[at + 1].textContent !== text) row.children[at + 1].textContent = text; });
    row.lastChild.firstChild.hidden = !run.report;
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
  });
  for (const row of rows.values()) row.remove();
}

function entry(run) {
  const box = make("input", {type: "checkbox", checked: true});
  box.addEventListener("change", () => { box.checked ? hidden.delete(run.name) : hidden.add(run.name); draw(); });
  const row = make("tr", {}, make("td", {}, make("label", {}, box, chip(run), make("span", {textContent: brief(run.name), title: run.name}))),
    ...Array.from({length: 7}, () => make("td")),
    make("td", {}, make("a", {href: `/report?${new URLSearchParams({run: run.name})}`, textContent: "open"})));
  row.dataset.run = run.name;
  return row;
}

function draw() {
  const shown = runs.filter((run) => !hidden.has(run.name));
  const state = JSON.stringify([axis.value, shown.map((run) => [run.name, run.start, run.epochs, run.colour])]);
  if (state === drawn) return;
  drawn = state;
  const names = new Set();
  for (const run of shown) for (const row of known.get(run.name).rows) {
    for (const [name, value] of Object.entries(row)) if (Number.isFinite(value) && !NO_CURVE.has(name)) names.add(name);
  }
  const ordered = [...FIRST.filter((name) => names.has(name)), ...[...names].filter((name) => !FIRST.includes(name)).sort()];
  by("charts").replaceChildren(...ordered.map((name) => chart(name, shown)));
}

function chart(name, shown) {
  const lines = shown.map((run) => ({run, points: known.get(run.name).rows.map((row) => [row[axis.value], row[name]])
    .filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y))})).filter((line) => line.points.length);
  const all = lines.flatMap((line) => line.points);
  const [x0, x1] = span(all.map((point) => point[0])), [y0, y1] = span(all.map((point) => point[1]));
  const px = (x) => LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
  const py = (y) => HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - BOTTOM - TOP);
  const title = brief(name).replaceAll("_", " ");
  const last = lines.map((line) => `${line.run.name}: ${short(line.points[line.points.length - 1][1])}`);
  const picture = svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `${title} over ${axis.value}. Last: ${last.join("; ").slice(0, 500)}`});
  for (const y of ticks(y0, y1)) {
    picture.append(svg("path", {class: "grid", d: `M${LEFT} ${py(y)}H${WIDTH - RIGHT}`}),
      svg("text", {x: LEFT - 5, y: py(y) + 4, "text-anchor": "end"}, short(y)));
  }
  for (const x of ticks(x0, x1)) picture.append(svg("text", {x: px(x), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle"}, short(x)));
  picture.append(svg("text", {x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 3, "text-anchor": "middle"}, axis.selectedOptions[0].text));
  for (const {run, points} of lines) {
    const path = points.map(([x, y], at) => `${at ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
    const line = points.length > 1 ? svg("path", {class: `line ${run.colour} v${run.variant}`, d: path})
      : svg("circle", {class: run.colour, cx: px(points[0][0]), cy: py(points[0][1]), r: 3});
    line.append(svg("title", {}, run.name));
    picture.append(line);
  }
  return make("figure", {}, make("h2", {textContent: title}), picture);
}

function span(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  const margin = low < high ? (high - low) / 40 : 0.5;
  return [low - margin, high + margin];
}

function ticks(low, high) {
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at++) found.push(at * step);
  return found;
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e5) return `${+(value / 1e6).toPrecision(3)} M`;
  return String(+value.toPrecision(3));
}

axis.addEventListener("change", draw);
by("settings").addEventListener("submit", (event) => event.preventDefault());
refresh();
