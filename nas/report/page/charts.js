// How pictures look, when they are drawn, and what the pointer shows.

const media = matchMedia("(prefers-color-scheme: dark)");
const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Okabe and Ito's palette; on a dark ground its blue and black give way to lighter neighbours. */
const palette = () => (media.matches
  ? ["#56b4e9", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#f0e442", "#b7c0ca"]
  : ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#555f6b"]);
const symbols = ["circle", "diamond", "square", "triangle-up", "cross", "star", "pentagon", "triangle-down", "x"];

const manyPoints = 3000;
const scatterType = (points) => (points > manyPoints ? "scattergl" : "scatter");

const axis = (more = {}) => ({
  gridcolor: colourOf("line"), linecolor: colourOf("line"), zeroline: false, automargin: true, exponentformat: "SI",
  tickfont: { size: 12 }, ...more,
});

const titled = (text) => ({ text: escaped(text), standoff: 10, font: { size: 13 } });
/** The title of an axis, with which way is better. */
const axisTitle = (name) => titled(`${label(name)} ${better(name) ? "↑" : "↓"}`);

const layout = (more = {}) => ({
  font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colourOf("soft") },
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 60, r: 16, t: 12, b: 48 },
  modebar: { bgcolor: "rgba(0,0,0,0)", color: colourOf("dot"), activecolor: colourOf("ink") }, hovermode: "closest", dragmode: "zoom", showlegend: true,
  legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 }, bgcolor: "rgba(0,0,0,0)" }, ...more,
});

const options = () => ({
  responsive: true, displaylogo: false, showSendToCloud: false,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg", filename: `${study.name}`.replace(/[^\w.-]+/g, "_") },
});

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  return [low, high];
}

/** Beyond a factor of twenty an axis is logarithmic; never where something is zero or less. */
function scaleOf(values) {
  const [low, high] = extent(values);
  return low > 0 && high / low > 20 ? "log" : "linear";
}

/** Where to label a logarithmic axis: at 1, 2 and 5 of each power, or at the powers alone where there are many. */
function logTicks(values, few = false) {
  const [low, high] = extent(values).map((value, at) => (at ? Math.ceil : Math.floor)(Math.log10(value)));
  const ticks = [];
  for (let power = low; power <= high; power++) for (const step of high - low > (few ? 2 : 4) ? [1] : [1, 2, 5]) ticks.push(step * 10 ** power);
  return { tickvals: ticks, ticktext: ticks.map((tick) => engineering(tick).replace(/\.0+(?=\u00a0|$)/, "")) };
}

const scaled = (values, few = false) => (scaleOf(values) === "log" ? { type: "log", ...logTicks(values, few) } : { type: "linear" });

/** Pictures are drawn when they come near the screen, before printing, and again when light turns to dark. */
const pictures = new Map();
const near = new IntersectionObserver((seen) => {
  for (const { isIntersecting, target } of seen) if (isIntersecting) drawNow(target.id);
}, { rootMargin: "600px" });

/** Heights are kept free from the start, so that nothing moves under the pointer while pictures are drawn. [px] */
const heights = { "front-plot": 480, "progress-plot": 340, "choices-plot": 440, "curves-plot": 380 };

function picture(id, draw) {
  pictures.set(id, { draw, drawn: false });
  byId(id).style.minHeight = `${heights[id]}px`;
  near.observe(byId(id));
}

function drawNow(id) {
  const held = pictures.get(id);
  if (!held || held.drawn) return;
  held.drawn = true;
  held.draw(byId(id));
  byId(id).style.minHeight = "";
  byId(id).dataset.drawn = "yes";
}

function redraw(id) {
  if (pictures.has(id)) pictures.get(id).drawn = false;
  drawNow(id);
}
media.addEventListener("change", () => { for (const [id, held] of pictures) if (held.drawn) redraw(id); });
addEventListener("beforeprint", () => { for (const id of pictures.keys()) drawNow(id); });

/** Draw; the pointer shows a trial, a click opens its card. Points carry the trial's index as customdata. */
function plot(node, traces, shape) {
  const first = !node.classList.contains("js-plotly-plot");
  Plotly.react(node, traces, shape, options());
  if (!first) return;
  const trial = (event) => { const held = event.points[0].customdata; return Array.isArray(held) ? held[0] : held; };
  node.on("plotly_hover", (event) => { if (isNumber(trial(event))) showTip(trial(event), event.event); });
  node.on("plotly_unhover", hideTip);
  node.on("plotly_click", (event) => { if (isNumber(trial(event))) openCard(trial(event)); });
}

const nothing = (node, words) => node.replaceChildren(element("p", { class: "soft" }, words));

function showTip(index, event) {
  const tip = byId("tip");
  const first = [study.y, study.x, "params"].filter((name, at, all) => has(name) && all.indexOf(name) === at);
  const varied = questions.slice(0, 8).map((path) => [shortName(path), column(path, "questions")[index]]);
  tip.replaceChildren(
    element("b", {}, `Trial ${column("number")[index]}${front.has(index) ? " · on the front" : ""}`),
    element("span", {}, components(index).join(" · ")),
    element("span", {}, first.map((name) => `${label(name)} ${human(name, column(name)[index]) || "–"}`).join(", ")),
    ...varied.filter(([, value]) => value !== null)
      .map(([name, value]) => element("span", { class: "soft" }, `${name}: ${human("", value)}`)),
    element("span", { class: "soft" }, isFinal(index) ? "" : `${state[index]} after ${column("epochs")[index]} of ${column("epochs_planned")[index]} epochs`),
  );
  tip.hidden = false;
  const { clientX: x, clientY: y } = event;
  const { offsetWidth: width, offsetHeight: height } = tip;
  tip.style.left = `${Math.max(8, x + 16 + width > innerWidth ? x - width - 16 : x + 16)}px`;
  tip.style.top = `${Math.max(8, Math.min(y + 12, innerHeight - height - 8))}px`;
}

function hideTip() { byId("tip").hidden = true; }
addEventListener("scroll", hideTip, { passive: true });
