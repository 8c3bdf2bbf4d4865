// The data of the page, and how its values are written for people.

const study = JSON.parse(document.getElementById("study").textContent);
const count = study.columns.number.length;
const final = new Set(["finished", "replayed"]);
const front = new Set(study.front);
const slots = ["backbone", "model", "context", "align", "refine", "head"];
const byId = (id) => document.getElementById(id);

/** Columns arrive packed: numbers as they are, the rest as levels and codes. */
const unpacked = new Map();
function column(name, table = "columns") {
  const key = `${table} ${name}`;
  if (!unpacked.has(key)) {
    const held = study[table][name];
    const values = Array.isArray(held) ? held
      : held.codes === null ? new Array(count).fill(held.levels[0])
      : held.codes.map((code) => held.levels[code]);
    unpacked.set(key, values);
  }
  return unpacked.get(key);
}

const state = column("state");
const outside = column("outside");
/** Trained for the full schedule; what was trained for fewer epochs never passes for final. */
const isFinal = (index) => final.has(state[index]) && !outside[index] && column("epochs")[index] >= study.usual;
const everyone = Array.from({ length: count }, (_, index) => index);
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const has = (name) => name in study.columns && column(name).some((value) => value !== null);
const label = (name) => study.labels[name] ?? name;
const better = (name) => study.axes[name] === "max";

const counted = new Set(["params", "macs", "macs_conv"]);
const scores = new Set(["miou", "miou_best", "pixel_accuracy"]);
const prefixes = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** A number with three digits and a prefix: 1234567 -> 1.23 M. */
function engineering(value, unit = "") {
  for (const [size, prefix] of prefixes) {
    if (Math.abs(value) >= size * 0.9995) return `${(value / size).toPrecision(3)}\u00a0${prefix}${unit}`;
  }
  return `${Number(value.toPrecision(3))} ${unit}`.trim();
}

/** A value the way people read it. */
function human(name, value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (!isNumber(value)) return String(value);
  if (scores.has(name)) return value.toFixed(4);
  if (counted.has(name)) return engineering(value);
  if (name.endsWith("_bytes")) return engineering(value, "B");
  if (name.endsWith("_seconds")) return duration(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

function duration(seconds) {
  if (seconds < 90) return `${Number(seconds.toPrecision(3))} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(1)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** Text for Plotly, which reads a few tags and entities of HTML. */
const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const shortened = (text, most = 28) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** An element; children that are text stay text. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A list of facts: pairs of a name and a value, those without a value left out. */
function facts(pairs) {
  const kept = pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return element("dl", { class: "facts" }, ...kept.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

/** The components of a trial's network, without those that do nothing; where timm gives the backbone, its model names it. */
const components = (index) => slots.filter((slot) => slot !== "backbone" || column("model")[index] === null)
  .map((slot) => column(slot)[index]).filter((name) => name !== null && name !== "none");

/** What varied in this study: questions with more than one answer, the slots of the network first. */
const questions = Object.keys(study.questions)
  .filter((path) => new Set(column(path, "questions").filter((value) => value !== null)).size > 1);
const shortName = (path) => path.replace(/^architecture\./, "");
