"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const ROOT = document.documentElement;
const CHANGED = new Event("theme");
const dark = () => ROOT.dataset.theme ? ROOT.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
const colour = (name) => getComputedStyle(ROOT).getPropertyValue(name).trim();

/* Plain values with each "var(--name)" as the colour it is now. */
function resolved(value) {
  if (typeof value === "string") {
    const found = /^var\((--[a-z0-9-]+)\)$/.exec(value);
    return found ? colour(found[1]) : value;
  }
  if (Array.isArray(value)) return value.map(resolved);
  if (value && typeof value === "object") {
    if ("bdata" in value) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, resolved(inner)]));
  }
  return value;
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/* Arrow keys within a group of which one is chosen; ``choose`` is told which. */
function roving(buttons, state, choose) {
  const pick = (index, focus) => {
    const at = (index + buttons.length) % buttons.length;
    buttons.forEach((button, other) => {
      button.setAttribute(state, String(other === at));
      button.tabIndex = other === at ? 0 : -1;
    });
    if (focus) buttons[at].focus();
    choose(at);
  };
  buttons.forEach((button, index) => {
    button.addEventListener("click", () => pick(index, false));
    button.addEventListener("keydown", (event) => {
      const to = { ArrowRight: index + 1, ArrowDown: index + 1, ArrowLeft: index - 1, ArrowUp: index - 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      pick(to, true);
    });
  });
}

/* Figures */
const LIVE = []; // surfaces drawn, oldest first: browsers keep only so many
const MOST_LIVE = 8;
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };

function heightOf(panel) {
  if (panel.layout.height) return panel.layout.height;
  return { surface: 380, regions: 340 }[panel.kind] || 300;
}

class Plot {
  constructor(panel, label, place, alone) {
    this.panel = panel;
    this.choice = 0;
    this.drawn = false;
    this.drawing = element("div", { class: "drawing", style: `height: ${heightOf(panel)}px` });
    // Names beside a heat map leave a phone no room for its cells: let it scroll.
    const wide = panel.kind === "heat" ? { tabindex: "0", role: "group", "aria-label": panel.title || label } : {};
    const box = element("div", { class: `panel ${panel.kind}`, ...wide });
    if (panel.title && !alone) box.append(element("h4", {}, panel.title));
    box.append(this.drawing);
    place.append(box);
    this.label = panel.title ? `${panel.title}. ${label}` : label;
    if (this.onDemand) this.offer();
  }

  get onDemand() { return this.panel.kind === "surface"; }

  offer() {
    const button = element("button", { type: "button" }, "Draw the surface");
    button.addEventListener("click", () => this.draw());
    this.drawing.replaceChildren(element("div", { class: "ask" }, button));
    this.drawing.removeAttribute("role");
    this.drawing.removeAttribute("aria-label");
  }

  content() {
    const { data, layout, choices, axes } = this.panel;
    const traces = resolved(data);
    const drawn = resolved(layout);
    if (choices && choices.length > 1) {
      choices[this.choice].forEach((x, index) => { traces[index].x = x; });
      drawn.xaxis = { ...drawn.xaxis, title: { ...(drawn.xaxis || {}).title, text: axes[this.choice] } };
    }
    delete drawn.height;
    drawn.font = { ...drawn.font, family: getComputedStyle(document.body).fontFamily };
    return [traces, { ...drawn, autosize: true, dragmode: this.onDemand ? "orbit" : false }, CONFIG];
  }

  draw() {
    if (this.onDemand && !this.drawn) {
      this.drawing.replaceChildren();
      LIVE.push(this);
      if (LIVE.length > MOST_LIVE) LIVE.shift().drop();
    }
    this.drawing.setAttribute("role", "img");
    this.drawing.setAttribute("aria-label", this.label);
    this.drawn = true;
    return Plotly.react(this.drawing, ...this.content());
  }

  drop() {
    Plotly.purge(this.drawing);
    this.drawn = false;
    this.offer();
  }

  choose(index) {
    this.choice = index;
    if (this.drawn) this.draw();
  }
}

const PLOTS = new Map();
for (const figure of document.querySelectorAll("figure.plot")) {
  const { panels } = DATA.figures[figure.dataset.figure];
  const place = figure.querySelector(".panels");
  const plots = panels.map((panel) => new Plot(panel, place.getAttribute("aria-label"), place, panels.length === 1));
  PLOTS.set(figure, plots);
  roving([...figure.querySelectorAll(".choices button")], "aria-checked", (index) => plots.forEach((plot) => plot.choose(index)));
}

async function drawFigure(figure) {
  if (figure.dataset.drawn) return;
  figure.dataset.drawn = "begun";
  await Promise.all(PLOTS.get(figure).filter((plot) => !plot.onDemand).map((plot) => plot.draw()));
  figure.dataset.drawn = "yes";
}
const seen = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => { seen.unobserve(entry.target); drawFigure(entry.target); }),
  { rootMargin: "800px" },
);
PLOTS.forEach((_, figure) => seen.observe(figure));
addEventListener("beforeprint", () => PLOTS.forEach((_, figure) => drawFigure(figure)));
document.addEventListener("theme", () => PLOTS.forEach((plots) => plots.filter((plot) => plot.drawn).forEach((plot) => plot.draw())));

/* Theme */
const toggle = document.getElementById("theme");
function nameToggle() { toggle.textContent = dark() ? "Light theme" : "Dark theme"; }
toggle.hidden = false;
toggle.addEventListener("click", () => {
  ROOT.dataset.theme = dark() ? "light" : "dark";
  nameToggle();
  document.dispatchEvent(CHANGED);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { nameToggle(); document.dispatchEvent(CHANGED); });
nameToggle();

/* Tabs and sorting */
const tabs = [...document.querySelectorAll('[role="tab"]')];
roving(tabs, "aria-selected", (chosen) => tabs.forEach((tab, index) => {
  document.getElementById(tab.getAttribute("aria-controls")).hidden = index !== chosen;
}));

function compare(one, other, sign) {
  if (one === undefined || other === undefined) return (one === undefined) - (other === undefined);
  const [a, b] = [Number(one), Number(other)];
  return sign * (Number.isNaN(a) || Number.isNaN(b) ? one.localeCompare(other) : a - b);
}
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const first = head.classList.contains("n") ? "descending" : "ascending";
    const second = first === "descending" ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    heads.forEach((other) => other.setAttribute("aria-sort", other === head ? order : "none"));
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => compare(a.cells[column].dataset.key, b.cells[column].dataset.key, order === "ascending" ? 1 : -1));
    table.tBodies[0].append(...rows);
  }));
}
