// The page of `symae explore`: decodes coherent and nuisance codes with ONNX Runtime Web.
// `window.explorer` has functions for tests and for the console.

const $ = (id) => document.getElementById(id);
const content = JSON.parse($("content").textContent);
const { shape, coherent_dim: C, nuisance_dim: N } = content;
const PIXELS = shape.reduce((product, n) => product * n, 1);
// (pixels,) or (pixels, a few channels); else (height, width) or (height, width, channels).
const SPECTRA = shape.length === 1 || (shape.length === 2 && shape[1] <= 8);
const CHANNELS = shape.length === 3 || (SPECTRA && shape.length === 2) ? shape.at(-1) : 1;
const SHOWN = 8; // number of sliders of a code outside the fold
const MOST_BYTES = 64e6;
const MOST_ROWS = 5000;

// === Numbers ===

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const floats = (text) => (text === null ? null : new Float32Array(bytes(text).buffer));
const unpacked = (text) =>
  new Response(
    new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip")),
  ).arrayBuffer();
const range = (n) => Array.from({ length: n }, (_, k) => k);
const short = (x) =>
  x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5)
    ? x.toExponential(2)
    : String(Number(x.toPrecision(4)));

const reliability = floats(content.detail);
const bands = content.bands && {
  ...content.bands,
  variance: floats(content.bands.variance),
  differences: floats(content.bands.differences),
};

// === Model ===

let ort, encoder, decoder;
let turn = Promise.resolve(); // a session runs one call at a time (queue)

async function start() {
  const loader = new Blob([$("loader").textContent], { type: "text/javascript" });
  ort = await import(URL.createObjectURL(loader));
  ort.env.wasm.wasmBinary = await unpacked($("runtime").textContent);
  ort.env.wasm.numThreads = 1; // threads need HTTP headers, which local files lack
  const session = async (text) =>
    ort.InferenceSession.create(new Uint8Array(await unpacked(text)), {
      executionProviders: ["wasm"],
    });
  encoder = await session(content.encode);
  decoder = await session(content.decode);
}

function run(session, feeds) {
  const result = turn.then(() => session.run(feeds));
  turn = result.catch(() => {});
  return result;
}

async function encode(x, n) {
  const found = await run(encoder, {
    x: new ort.Tensor("float32", x, [1, n, ...shape]),
    mask: new ort.Tensor("bool", new Uint8Array(n).fill(1), [1, n]),
  });
  return { c: found.coherent.data, n: found.nuisance.data };
}

// `rows` coherent codes, each with as many nuisance codes as fit.
async function decode(coherent, nuisance, rows) {
  const each = nuisance.length / rows / N;
  const found = await run(decoder, {
    coherent: new ort.Tensor("float32", coherent, [rows, C]),
    nuisance: new ort.Tensor("float32", nuisance, [rows, each, N]),
  });
  return found.instances.data;
}

// === Groups ===

const groups = [];

async function add(id, names, x) {
  const count = names.length;
  const codes = await encode(x, count);
  groups.push({ id, names, x, count, codes, detail: await detail(x, count, codes) });
}

// Detail of the state outside the code: mean residual times gain (Spearman-Brown).
async function detail(x, count, codes) {
  if (reliability === null) return null;
  const decoded = await decode(codes.c, codes.n, 1);
  const found = new Float32Array(PIXELS);
  for (let p = 0; p < PIXELS; p++) {
    let total = 0;
    let good = 0;
    for (let t = 0; t < count; t++) {
      const k = t * PIXELS + p;
      if (Number.isFinite(x[k])) {
        total += x[k] - decoded[k];
        good++;
      }
    }
    const n = Math.max(good, 1);
    const q = reliability[p];
    found[p] = (((n * q) / (1 + (n - 1) * q)) * total) / n;
  }
  return found;
}

const instance = ({ group, place }) =>
  groups[group].x.subarray(place * PIXELS, (place + 1) * PIXELS);
const named = ({ group, place }) =>
  `group ${groups[group].id}, instance ${groups[group].names[place]}`;

// === Virtual instances ===

// The instance decoded from two codes, and its band if both codes are measured.
async function virtual(coherent, nuisance, a, b, measured) {
  const parts = [coherent];
  const banded = bands !== null && measured;
  const differences = banded && bands.differences ? bands.differences : new Float32Array();
  const size = 0.5 * Math.sqrt(1 / groups[a].count + 1 / groups[b].count);
  for (let k = 0; k < differences.length; k += C) {
    const half = differences.subarray(k, k + C).map((x) => size * x);
    parts.push(coherent.map((x, i) => x + half[i]), coherent.map((x, i) => x - half[i]));
  }
  const all = new Float32Array(parts.length * C);
  const same = new Float32Array(parts.length * N);
  parts.forEach((each, k) => (all.set(each, k * C), same.set(nuisance, k * N)));
  const decoded = await decode(all, same, parts.length);
  const values = decoded.slice(0, PIXELS);
  const missed = groups[a].detail;
  if (missed) values.forEach((x, p) => (values[p] = x + missed[p]));
  if (!banded) return { values, lower: null, upper: null };
  const lower = new Float32Array(PIXELS);
  const upper = new Float32Array(PIXELS);
  const n = (parts.length - 1) / 2;
  for (let p = 0; p < PIXELS; p++) {
    let spread = 0;
    for (let k = 0; k < n; k++) {
      const at = (1 + 2 * k) * PIXELS + p;
      spread += (decoded[at] - decoded[at + PIXELS]) ** 2;
    }
    const width = bands.quantile * Math.sqrt(bands.variance[p] + (n ? spread / n : 0));
    lower[p] = values[p] - width;
    upper[p] = values[p] + width;
  }
  return { values, lower, upper };
}

const state = {
  a: { group: 0, place: 0 },
  b: { group: 0, place: 0 },
  coherent: new Float32Array(C),
  nuisance: new Float32Array(N),
  measured: true,
  made: null,
  ms: 0,
  reach: null, // range of values in the plot
};

function takeCodes() {
  const { a, b } = state;
  state.coherent = groups[a.group].codes.c.slice();
  state.nuisance = groups[b.group].codes.n.slice(b.place * N, (b.place + 1) * N);
  state.measured = true;
  state.reach = null;
  sliders.forEach((each) => each.show());
}

let wanted = 0;
async function update() {
  const mine = ++wanted;
  const from = performance.now();
  const { coherent, nuisance, a, b, measured } = state;
  const made = await virtual(coherent.slice(), nuisance.slice(), a.group, b.group, measured);
  if (mine !== wanted) return; // a later change will be drawn instead
  state.made = made;
  draw();
  state.ms = performance.now() - from;
  say();
}

// === Sliders ===

let sliders = [];

// Components of a code, sorted by their effect on decoded instances over their range.
async function orderOf(code, size, other, ranges) {
  const varied = new Float32Array(2 * size * size);
  const middle = ranges.map(([low, high]) => (low + high) / 2);
  for (let k = 0; k < size; k++) {
    for (const end of [0, 1]) {
      const row = (2 * k + end) * size;
      varied.set(middle, row);
      varied[row + k] = ranges[k][end];
    }
  }
  const kept = new Float32Array(2 * size * other.length);
  range(2 * size).forEach((k) => kept.set(other, k * other.length));
  const decoded =
    code === "coherent"
      ? await decode(varied, kept, 2 * size)
      : await decode(kept, varied, 2 * size);
  const effect = range(size).map((k) => {
    let total = 0;
    for (let p = 0; p < PIXELS; p++) {
      const at = 2 * k * PIXELS + p;
      total += (decoded[at] - decoded[at + PIXELS]) ** 2;
    }
    return total;
  });
  return range(size).sort((i, j) => effect[j] - effect[i]);
}

function rangesOf(key, size) {
  const found = range(size).map(() => [Infinity, -Infinity]);
  for (const { codes } of groups) {
    codes[key].forEach((x, k) => {
      const each = found[k % size];
      each[0] = Math.min(each[0], x);
      each[1] = Math.max(each[1], x);
    });
  }
  return found.map(([low, high]) => {
    const more = 0.1 * (high - low) || 1;
    return [low - more, high + more];
  });
}

async function makeSliders() {
  sliders = [];
  for (const [code, key, size] of [["coherent", "c", C], ["nuisance", "n", N]]) {
    const ranges = rangesOf(key, size);
    const other = code === "coherent" ? groups[0].codes.n.slice(0, N) : groups[0].codes.c;
    const order = await orderOf(code, size, other, ranges);
    const rows = order.map((k) => slider(code, k, ranges[k]));
    const box = $(code);
    box.replaceChildren(...rows.slice(0, SHOWN));
    if (rows.length > SHOWN) {
      const more = document.createElement("details");
      const title = document.createElement("summary");
      title.textContent = `${rows.length - SHOWN} more`;
      more.append(title, ...rows.slice(SHOWN));
      box.append(more);
    }
  }
  sliders.forEach((each) => each.show());
}

function slider(code, k, [low, high]) {
  const row = document.createElement("div");
  row.className = "slider";
  const label = document.createElement("label");
  const input = document.createElement("input");
  const output = document.createElement("output");
  const title = code === "coherent" ? "Coherent" : "Nuisance";
  Object.assign(input, { type: "range", id: `${code}-${k}`, step: "any" });
  input.min = low;
  input.max = high;
  // With "any", arrow keys would move by 0.01, independent of the range.
  input.step = (high - low) / 200;
  label.htmlFor = output.htmlFor = input.id;
  label.textContent = `${title} ${k + 1}`;
  const written = (value) => {
    output.textContent = short(value);
    input.setAttribute("aria-valuetext", short(value));
  };
  input.addEventListener("input", () => {
    state[code][k] = Number(input.value);
    state.measured = false;
    written(Number(input.value));
    update();
  });
  sliders.push({
    show: () => {
      input.value = state[code][k];
      written(state[code][k]);
    },
  });
  row.append(label, input, output);
  return row;
}

// === Selection ===

function options(select, names, chosen) {
  select.replaceChildren(...names.map((name, k) => new Option(name, k)));
  select.value = chosen;
}

function showSelection() {
  for (const side of ["a", "b"]) {
    const { group, place } = state[side];
    options($(`${side}-group`), groups.map((each) => each.id), group);
    options($(`${side}-instance`), groups[group].names, place);
  }
}

function choose(side, group, place) {
  state[side] = { group, place: Math.min(place, groups[group].count - 1) };
  showSelection();
  takeCodes();
  return update();
}

// === Drawing ===

const COLOURS = {
  page: "#ffffff", ink: "#1b1f24", soft: "#57606a", line: "#d0d7de",
  virtual: "#0072b2", band: "#cce3f0", a: "#b35900", b: "#00795a",
};
const inPage = (name) => `var(--${name})`;
const onPaper = (name) => COLOURS[name];

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return range(Math.floor(high / step + 1e-9) - first + 1).map((k) => (first + k) * step);
}

const escaped = (text) =>
  String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

// A drawing of the three instances as SVG; `colour` gives the colour of a name.
function drawing(width, height, colour) {
  const { made } = state;
  const channel = Number($("channel").value || 0);
  const n = shape[0];
  const at = (values, k) => values[k * CHANNELS + channel];
  const xs = content.axis?.length === n ? content.axis : range(n).map((k) => k + 1);
  const lines = [
    ["A, measured", instance(state.a), "a", 1.3, "6 3"],
    ["B, measured", instance(state.b), "b", 1.3, "2 3"],
    ["virtual", made.values, "virtual", 2.2, ""],
  ];
  let [low, high] = state.reach ?? [Infinity, -Infinity];
  for (const values of [...lines.map((each) => each[1]), made.lower, made.upper]) {
    if (!values) continue;
    for (let k = 0; k < n; k++) {
      const y = at(values, k);
      if (Number.isFinite(y)) {
        low = Math.min(low, y);
        high = Math.max(high, y);
      }
    }
  }
  state.reach = [low, high]; // it only grows while sliders move, so that the scale is stable
  const more = 0.05 * (high - low) || 1;
  [low, high] = [low - more, high + more];
  const size = width < 500 ? 11 : 13;
  const keys = [...lines.map(([text, , name, w, dash]) => ({ text, name, w, dash }))].reverse();
  if (made.lower) keys.splice(1, 0, { text: `${100 * bands.level} % band`, name: "band", w: 9, dash: "" });
  const perRow = width < 500 ? 2 : keys.length;
  const head = 8 + (size + 5) * Math.ceil(keys.length / perRow);
  const yTicks = ticks(low, high, height < 300 ? 4 : 6);
  const left = 14 + 0.62 * size * Math.max(...yTicks.map((y) => short(y).length));
  const [right, bottom] = [width - 12, height - 2.9 * size];
  const ends = [Math.min(xs[0], xs[n - 1]), Math.max(xs[0], xs[n - 1])];
  const toX = (x) => left + ((x - ends[0]) / (ends[1] - ends[0] || 1)) * (right - left);
  const toY = (y) => bottom - ((y - low) / (high - low)) * (bottom - head);
  const point = (values) => (k) => `${toX(xs[k]).toFixed(1)},${toY(at(values, k)).toFixed(1)}`;
  const text = (x, y, what, anchor = "middle", extra = "") =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" fill="${colour("ink")}" ${extra}>${escaped(what)}</text>`;
  const parts = [];
  for (const y of yTicks) {
    parts.push(`<line x1="${left}" x2="${right}" y1="${toY(y)}" y2="${toY(y)}" stroke="${colour("line")}"/>`);
    parts.push(text(left - 6, toY(y) + size / 3, short(y), "end"));
  }
  for (const x of ticks(...ends, width < 500 ? 4 : 8)) {
    parts.push(`<line x1="${toX(x)}" x2="${toX(x)}" y1="${bottom}" y2="${bottom + 4}" stroke="${colour("soft")}"/>`);
    parts.push(text(toX(x), bottom + 4 + size, short(x)));
  }
  parts.push(text((left + right) / 2, height - 4, content.label));
  if (made.lower) {
    const there = range(n).map(point(made.upper));
    const back = range(n).map(point(made.lower)).reverse();
    parts.push(`<path d="M${[...there, ...back].join("L")}Z" fill="${colour("band")}"/>`);
  }
  for (const [, values, name, w, dash] of lines) {
    let d = "";
    let pen = false; // bad pixels are gaps
    for (let k = 0; k < n; k++) {
      const good = Number.isFinite(at(values, k));
      if (good) d += (pen ? "L" : "M") + point(values)(k);
      pen = good;
    }
    parts.push(`<path d="${d}" fill="none" stroke="${colour(name)}" stroke-width="${w}" stroke-dasharray="${dash}"/>`);
  }
  keys.forEach(({ text: what, name, w, dash }, k) => {
    const x = left + (k % perRow) * Math.min(170, (right - left) / perRow);
    const y = 4 + (size + 5) * (Math.floor(k / perRow) + 0.5);
    parts.push(`<line x1="${x}" x2="${x + 28}" y1="${y}" y2="${y}" stroke="${colour(name)}" stroke-width="${w}" stroke-dasharray="${dash}"/>`);
    parts.push(text(x + 34, y + size / 3, what, "start"));
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="h-view said" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="${size}">${parts.join("")}</svg>`;
}

// An image on a canvas; all three share a scale, so that they can be compared.
function paint(canvas, values, [low, high]) {
  const [height, width] = shape;
  Object.assign(canvas, { width, height });
  const pixels = new ImageData(width, height);
  for (let k = 0; k < width * height; k++) {
    for (let c = 0; c < 3; c++) {
      const x = values[k * CHANNELS + (CHANNELS >= 3 ? c : 0)];
      pixels.data[4 * k + c] = (255 * (x - low)) / (high - low || 1);
    }
    pixels.data[4 * k + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function drawImages(box) {
  const shown = [
    ["A, measured", instance(state.a)],
    ["B, measured", instance(state.b)],
    ["Virtual: state of A, nuisance of B", state.made.values],
  ];
  const finite = [...shown[0][1], ...shown[1][1]].filter(Number.isFinite);
  const reach = [finite.reduce((x, y) => Math.min(x, y)), finite.reduce((x, y) => Math.max(x, y))];
  if (!box.querySelector("canvas")) {
    const all = document.createElement("div");
    all.className = "images";
    for (const [title] of shown) {
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      const caption = document.createElement("figcaption");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", caption.textContent = title);
      figure.append(canvas, caption);
      all.append(figure);
    }
    box.replaceChildren(all);
  }
  box.querySelectorAll("canvas").forEach((canvas, k) => paint(canvas, shown[k][1], reach));
}

function draw() {
  const box = $("plot");
  if (!SPECTRA) return drawImages(box);
  const width = Math.max(box.clientWidth, 280);
  const height = width < 600 ? Math.min(Math.round(0.62 * width), Math.max(180, innerHeight * 0.4)) : Math.min(0.55 * width, 520);
  box.innerHTML = drawing(width, Math.round(height), inPage);
}

// === Words ===

let later;
function say() {
  clearTimeout(later); // a screen reader announces only the last of many changes
  later = setTimeout(() => {
    const { values } = state.made;
    const [low, high] = [values.reduce((x, y) => Math.min(x, y)), values.reduce((x, y) => Math.max(x, y))];
    const codes = state.measured
      ? `State of ${named(state.a)}, under the nuisance of ${named(state.b)}.`
      : "Codes from the sliders, not from a measurement" + (bands ? ", so there is no band." : ".");
    const band = state.made.lower
      ? ` The band contains the whole true instance with a probability of ${100 * bands.level} %, for groups like the training groups.`
      : "";
    $("said").textContent = `${codes} Values from ${short(low)} to ${short(high)}.${band} Computed and drawn in ${state.ms.toFixed(0)} ms.`;
  }, 250);
}

const alarm = (sentence) => ($("alarm").textContent = sentence);

// === Tables ===

class Unusable extends Error {}

// Cells of a line, parsed as CSV; a quoted cell must end in its line.
function cells(line, separator) {
  const found = [];
  let cell = "";
  let quoted = false;
  for (let k = 0; k < line.length; k++) {
    const c = line[k];
    if (c === '"' && quoted && line[k + 1] === '"') cell += line[++k];
    else if (c === '"') quoted = !quoted;
    else if (c === separator && !quoted) (found.push(cell.trim()), (cell = ""));
    else cell += c;
  }
  return [...found, cell.trim()];
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

// Groups of a wide table: a column of group names, and one column per pixel.
function readTable(text) {
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\r|\n/).filter((line) => line.trim() && !line.startsWith("#"));
  if (lines.length === 0) throw new Unusable("The file is empty.");
  if (lines.length > MOST_ROWS + 1) throw new Unusable(`The file has ${lines.length - 1} rows; give at most ${MOST_ROWS}.`);
  const separator = ["\t", ";", ","].find((each) => lines[0].includes(each)) ?? ",";
  const number = (cell) => {
    const plain = separator === "," ? cell : cell.replace(",", ".");
    return NUMBER.test(plain) ? Number(plain) : /^(nan)?$/i.test(cell) ? NaN : null;
  };
  const header = cells(lines[0], separator);
  const pixels = range(header.length).filter((k) => NUMBER.test(header[k]) || Number.isFinite(number(header[k])));
  const place = (name) => header.findIndex((each) => each.toLowerCase() === name.toLowerCase());
  if (pixels.length !== PIXELS) {
    throw new Unusable(`The header has ${pixels.length} columns whose names are numbers, but the model takes ${PIXELS} pixels; the name of each pixel column must be its position on the axis.`);
  }
  if (content.axis) checkAxis(pixels.map((k) => number(header[k])));
  const [group, name] = [place(content.group), place("instance")];
  const found = new Map();
  lines.slice(1).forEach((line, row) => {
    const all = cells(line, separator);
    if (all.length !== header.length) throw new Unusable(`Row ${row + 1} has ${all.length} cells, and the header ${header.length}.`);
    const id = group < 0 ? `row ${row + 1}` : all[group];
    const values = pixels.map((k) => number(all[k]));
    const bad = values.indexOf(null);
    if (bad >= 0) throw new Unusable(`Row ${row + 1}, column ${header[pixels[bad]]}: "${all[pixels[bad]]}" is not a number.`);
    if (!values.some(Number.isFinite)) return; // an absent instance
    const each = found.get(id) ?? { names: [], values: [] };
    each.names.push(name < 0 ? String(each.names.length) : all[name]);
    each.values.push(...values);
    found.set(id, each);
  });
  if (found.size === 0) throw new Unusable("The file has no row with a number.");
  return found;
}

function checkAxis(theirs) {
  const ours = content.axis;
  const step = Math.min(...ours.slice(1).map((x, k) => Math.abs(x - ours[k])));
  const equal = (values) => values.every((x, k) => Math.abs(x - ours[k]) <= 0.05 * step);
  if (equal(theirs)) return;
  const where = `The file is on the axis ${short(theirs[0])} to ${short(theirs.at(-1))}, and the model on ${short(ours[0])} to ${short(ours.at(-1))} (${content.label})`;
  throw new Unusable(`${where}; ${equal(theirs.toReversed()) ? "reverse the order of the columns" : "resample the data, with symae_keras.data.resample"}.`);
}

async function addTable(text, file) {
  const found = readTable(text);
  const first = groups.length;
  for (const [id, { names, values }] of found) await add(`${id} (${file})`, names, Float32Array.from(values));
  await makeSliders();
  await choose("a", first, 0);
  const rows = [...found.values()].reduce((n, each) => n + each.names.length, 0);
  $("added").textContent = `${found.size} groups with ${rows} instances of ${file} were added; the first is A.` + (bands ? " Bands are only valid for data like the training data, which this page does not check." : "");
}

async function take(file) {
  alarm("");
  $("added").textContent = "";
  try {
    if (file.size > MOST_BYTES) throw new Unusable("The file has more than 64 MB; give fewer rows.");
    await addTable(await file.text(), file.name);
  } catch (error) {
    alarm(`${file.name}: ${error instanceof Unusable ? error.message : `cannot be used (${error.message})`}`);
  }
}

// === Downloads ===

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const paper = () => drawing(960, 540, onPaper);

async function picture() {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  if (SPECTRA) {
    Object.assign(canvas, { width: 1920, height: 1080 });
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(paper())}`;
    await image.decode();
    context.fillStyle = COLOURS.page;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
  } else {
    const [height, width] = shape;
    const scale = Math.max(1, Math.round(256 / height));
    Object.assign(canvas, { width: 3 * width * scale, height: height * scale });
    context.imageSmoothingEnabled = false;
    $("plot").querySelectorAll("canvas").forEach((each, k) =>
      context.drawImage(each, k * width * scale, 0, width * scale, height * scale));
  }
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function table() {
  const { values, lower, upper } = state.made;
  const columns = { virtual: values, a: instance(state.a), b: instance(state.b), ...(lower ? { lower, upper } : {}) };
  const rows = range(PIXELS).map((p) => {
    const x = SPECTRA && CHANNELS === 1 && content.axis ? content.axis[p] : p;
    return [x, ...Object.values(columns).map((each) => (Number.isFinite(each[p]) ? each[p] : ""))].join(",");
  });
  return [["pixel", ...Object.keys(columns)].join(","), ...rows, ""].join("\n");
}

// === Page ===

function listen() {
  for (const side of ["a", "b"]) {
    $(`${side}-group`).addEventListener("change", (event) => choose(side, Number(event.target.value), 0));
    $(`${side}-instance`).addEventListener("change", (event) => choose(side, state[side].group, Number(event.target.value)));
  }
  $("swap").addEventListener("click", () => swap());
  $("reset").addEventListener("click", () => (takeCodes(), update()));
  $("channel").addEventListener("change", () => ((state.reach = null), draw()));
  $("svg").addEventListener("click", () => download(new Blob([paper()], { type: "image/svg+xml" }), "virtual.svg"));
  $("png").addEventListener("click", async () => download(await picture(), "virtual.png"));
  $("csv").addEventListener("click", () => download(new Blob([table()], { type: "text/csv" }), "virtual.csv"));
  $("file").addEventListener("change", (event) => event.target.files[0] && take(event.target.files[0]));
  const drop = $("drop");
  // The whole page accepts files, because a browser would open a file dropped elsewhere.
  addEventListener("dragover", (event) => (event.preventDefault(), drop.classList.add("over")));
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0] && !$("own").hidden) take(event.dataTransfer.files[0]);
  });
  addEventListener("resize", () => state.made && draw());
}

function swap() {
  [state.a, state.b] = [state.b, state.a];
  showSelection();
  takeCodes();
  return update();
}

async function open() {
  $("about").textContent = `${content.model}: the state of one instance under the nuisance of another, from codes. The page contains ${content.groups.length} ${content.part}.`;
  $("format").textContent = `A wide table: a column ${content.group}, and ${PIXELS} columns named by their position on the axis, as written by symae_keras.data.save. Each row is one instance; all rows of a group have the same state.`;
  await start();
  for (const { id, instances, x } of content.groups) await add(id, instances, floats(x));
  if (SPECTRA && CHANNELS > 1) {
    options($("channel"), range(CHANNELS).map((k) => k + 1), 0);
    $("channel-label").hidden = false;
  }
  $("own").hidden = !(SPECTRA && CHANNELS === 1);
  if (!SPECTRA) $("svg").hidden = true;
  state.b.group = Math.min(1, groups.length - 1);
  await makeSliders();
  listen();
  $("all").hidden = false;
  $("loading").hidden = true;
  await choose("a", 0, 0);
}

window.explorer = { groups, state, ready: open(), choose, swap, addTable, drawing: paper, table, picture };
window.explorer.ready.catch((error) => {
  $("loading").hidden = true;
  alarm(`The model cannot be started; the page needs a browser of 2023 or later (${error.message}).`);
});
