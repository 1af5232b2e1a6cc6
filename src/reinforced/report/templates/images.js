/* The matrix of images and attacks, and the gallery. */
(() => {
  const { entries, clean } = DATA.images;
  if (!entries || !entries.length) return;
  const LARGEST = 64;
  const SHOWN = 12; // examples in the gallery
  const byId = (id) => document.getElementById(id);
  const [chooser, order, zoom, scroller, width, names] = ["entry", "order", "zoom", "matrix", "matrix-width", "matrix-names"].map(byId);
  const canvas = scroller.querySelector("canvas");
  const sheets = new Map();
  let entry, rows, sequence, selected, cell, high;

  function sheet(uri) {
    if (!sheets.has(uri)) {
      const image = new Image();
      sheets.set(uri, { image, ready: new Promise((done) => { image.onload = image.onerror = done; }) });
      image.src = uri;
    }
    return sheets.get(uri);
  }

  async function load(pictures) {
    if (!pictures) return;
    const uris = [clean[pictures.clean].uri, ...Object.values(pictures.attacks).map((attack) => attack.uri)];
    await Promise.all(uris.map((uri) => sheet(uri).ready));
  }

  function tile(packed, at, [height, wide]) {
    const made = element("canvas", { width: wide, height });
    const pen = made.getContext("2d", { willReadFrequently: true });
    const [x, y] = [(at % packed.columns) * wide, Math.floor(at / packed.columns) * height];
    pen.drawImage(sheet(packed.uri).image, x, y, wide, height, 0, 0, wide, height);
    return made;
  }

  /* Canvases of an image: clean, and for an attack its perturbation and what they make together. */
  const kept = new WeakMap();
  function pictures(of, row, attack) {
    const found = of.pictures;
    if (!found || row >= found.count) return null;
    if (!kept.has(of)) kept.set(of, new Map());
    const key = `${row} ${attack || ""}`;
    if (kept.get(of).has(key)) return kept.get(of).get(key);
    const original = tile(clean[found.clean], row, found.size);
    let made = { original };
    if (attack) {
      const packed = found.attacks[attack];
      const at = packed ? packed.rows.indexOf(row) : -1;
      if (at < 0) return null;
      const delta = tile(packed, at, found.size);
      const [height, wide] = found.size;
      const sum = original.getContext("2d").getImageData(0, 0, wide, height);
      const added = delta.getContext("2d").getImageData(0, 0, wide, height);
      sum.data.forEach((value, index) => {
        if (index % 4 !== 3) sum.data[index] = value + ((added.data[index] - 127.5) / 127.5) * packed.scales[at] * 255;
      });
      const adversarial = element("canvas", { width: wide, height });
      adversarial.getContext("2d").putImageData(sum, 0, 0);
      made = { original, delta, adversarial, factor: packed.scales[at] ? 0.5 / packed.scales[at] : 0 };
    }
    kept.get(of).set(key, made);
    return made;
  }

  const named = (of, label) => (label < 0 ? "?" : of.classes[label] || String(label));
  function said(of, row, attack) {
    const found = of.pictures;
    const class_ = found && found.predicted[attack] ? found.predicted[attack][row] : undefined;
    if (class_ === undefined || class_ < 0) return "";
    const sure = found.confidence[attack] ? found.confidence[attack][row] : null;
    return named(of, class_) + (sure === null || sure === undefined ? "" : ` (${(100 * sure).toFixed(0)} %)`);
  }

  function outcome(of, name, row) {
    if (of.clean[row] !== "1") return "wrong";
    const marks = name === "clean" ? of.clean : name === "worst case" ? of.robust : of.attacks.find((one) => one.name === name).marks;
    return { 1: "stood", 0: "broke" }[marks[row]] || "idle";
  }

  /* Matrix */
  function fit() {
    const least = Math.max(1, scroller.clientWidth / entry.labels.length);
    cell = least * (LARGEST / least) ** Number(zoom.value);
    if (least >= LARGEST) cell = LARGEST;
    high = Math.max(18, Math.min(cell, LARGEST));
    width.style.width = `${Math.max(scroller.clientWidth, cell * entry.labels.length)}px`;
    names.replaceChildren(...rows.map((name) => element("div", { style: `height: ${high}px`, title: name }, element("span", {}, name))));
    paint();
  }

  function paint() {
    const ratio = devicePixelRatio || 1;
    const wide = scroller.clientWidth;
    canvas.width = wide * ratio;
    canvas.height = high * rows.length * ratio;
    canvas.style.width = `${wide}px`;
    canvas.style.height = `${high * rows.length}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.imageSmoothingEnabled = false;
    const fills = { stood: colour("--r1"), broke: colour("--bad"), wrong: colour("--muted"), idle: colour("--grid") };
    const first = Math.floor(scroller.scrollLeft / cell);
    const last = Math.min(sequence.length, Math.ceil((scroller.scrollLeft + wide) / cell));
    const gap = cell > 6 ? 1 : 0;
    for (let at = first; at < last; at += 1) {
      const x = at * cell - scroller.scrollLeft;
      rows.forEach((name, line) => {
        pen.fillStyle = fills[outcome(entry, name, sequence[at])];
        pen.fillRect(x, line * high, Math.max(cell - gap, 1), high - 1);
        if (cell >= 22) thumbnail(pen, name, sequence[at], x, line * high);
      });
    }
    const place = sequence.indexOf(selected);
    if (place >= 0) {
      pen.strokeStyle = colour("--ink");
      pen.lineWidth = 2;
      pen.strokeRect(place * cell - scroller.scrollLeft + 0.5, 1, Math.max(cell - 1, 2), high * rows.length - 3);
    }
  }

  function thumbnail(pen, name, row, x, y) {
    const found = name === "worst case" ? null : pictures(entry, row, name === "clean" ? "" : name);
    if (found) pen.drawImage(found.adversarial || found.original, x + 3, y + 3, cell - 7, high - 7);
  }

  function select(row) {
    selected = row;
    const label = named(entry, entry.labels[row]);
    const parts = rows.slice(1, -1).map((name) => {
      const what = { stood: "stood", broke: "broken", wrong: "", idle: "not attacked" }[outcome(entry, name, row)];
      const far = (entry.distances[name] || [])[row];
      const now = said(entry, row, name);
      return what && `${name}: ${what}${now && what !== "not attacked" ? `, seen as ${now}` : ""}${what === "broken" && far ? `, distance ${far}` : ""}`;
    });
    const before = said(entry, row, "clean");
    const right = entry.clean[row] === "1" ? "right" : "wrong before any attack";
    byId("image-said").textContent = [`Image ${row}, class ${label}: ${right}${before ? `, seen as ${before}` : ""}`, ...parts.filter(Boolean)].join("; ");
    const shown = [];
    const original = pictures(entry, row, "");
    if (original) shown.push(element("figure", {}, enlarged(original.original, "clean"), element("figcaption", {}, `clean: ${before}`)));
    for (const name of rows.slice(1, -1)) {
      const found = pictures(entry, row, name);
      if (found) shown.push(element("figure", { class: "two" }, enlarged(found.delta, `perturbation by ${name}`), enlarged(found.adversarial, `adversarial by ${name}`), element("figcaption", {}, `${name}: × ${found.factor.toPrecision(2)}, ${said(entry, row, name)}`)));
    }
    if (!original && entry.pictures) shown.push(`Only the first ${entry.pictures.count} images are in this page.`);
    byId("image-detail").replaceChildren(...shown);
    paint();
  }

  function enlarged(source, label, side = 112) {
    const made = element("canvas", { width: side, height: side, role: "img", "aria-label": label });
    const pen = made.getContext("2d");
    pen.imageSmoothingEnabled = source.width > side;
    pen.drawImage(source, 0, 0, side, side);
    return made;
  }

  function reveal(place) {
    const left = place * cell;
    if (left < scroller.scrollLeft || left + cell > scroller.scrollLeft + scroller.clientWidth) scroller.scrollLeft = left - scroller.clientWidth / 2;
  }

  function step(by) {
    const place = Math.min(sequence.length - 1, Math.max(0, sequence.indexOf(selected) + by));
    reveal(place);
    select(sequence[place]);
  }

  function arrange() {
    const count = entry.labels.length;
    const weak = (row) => (entry.clean[row] !== "1" ? 99 : entry.attacks.filter((one) => one.marks[row] === "0").length + (entry.robust[row] === "0"));
    const key = { index: (row) => row, hard: (row) => -weak(row), label: (row) => entry.labels[row] }[order.value];
    sequence = Array.from({ length: count }, (_, row) => row).sort((a, b) => key(a) - key(b) || a - b);
  }

  /* Gallery */
  function gallery() {
    const examples = [];
    for (let row = 0; row < entry.labels.length && examples.length < SHOWN; row += 1) {
      const attack = rows.slice(1, -1).find((name) => outcome(entry, name, row) === "broke");
      const found = attack && pictures(entry, row, attack);
      if (found) examples.push(example(row, attack, found));
    }
    const none = entry.pictures ? "No image in this page was broken." : "This evaluation kept no images; evaluate again to see them.";
    byId("gallery").replaceChildren(...(examples.length ? examples : [element("p", { class: "note" }, none)]));
  }

  function example(row, attack, found) {
    const truth = named(entry, entry.labels[row]);
    const parts = [
      [found.original, `class ${truth}, seen as`, said(entry, row, "clean")],
      [found.delta, `× ${found.factor.toPrecision(2)}`, attack],
      [found.adversarial, "seen as", said(entry, row, attack)],
    ];
    return element("div", { class: "example" }, ...parts.map(([image, above, below]) => element("figure", {}, enlarged(image, `${above} ${below}`, 160), element("figcaption", { title: `${above} ${below}` }, above, element("br"), below))));
  }

  async function show() {
    entry = entries[Number(chooser.value)];
    rows = ["clean", ...entry.attacks.map((one) => one.name), "worst case"];
    await load(entry.pictures);
    arrange();
    fit();
    select(sequence.find((row) => outcome(entry, "worst case", row) === "broke") ?? sequence[0]);
    gallery();
    scroller.dataset.drawn = "yes";
  }

  entries.forEach((one, index) => chooser.append(element("option", { value: index }, `${one.run} under ${one.threat}`)));
  chooser.addEventListener("change", show);
  order.addEventListener("change", () => { arrange(); paint(); });
  zoom.addEventListener("input", () => { fit(); reveal(sequence.indexOf(selected)); });
  scroller.addEventListener("scroll", paint);
  canvas.addEventListener("click", (event) => {
    const at = Math.floor((event.offsetX + scroller.scrollLeft) / cell);
    if (at < sequence.length) select(sequence[at]);
  });
  scroller.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (event.key in steps) step(steps[event.key]);
    else if (event.key === "+" || event.key === "-") { zoom.value = Number(zoom.value) + (event.key === "+" ? 0.1 : -0.1); fit(); }
    else return;
    event.preventDefault();
  });
  document.addEventListener("theme", paint);
  addEventListener("resize", fit);
  show();
})();
