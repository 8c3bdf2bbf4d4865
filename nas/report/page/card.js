// The card of a trial.

let opener = null;

function openCard(index) {
  hideTip();
  const card = byId("card"), number = column("number")[index];
  if (card.hidden) opener = document.activeElement;
  card.replaceChildren(
    element("button", { class: "close", type: "button", "aria-label": "Close", onclick: closeCard }, "✕"),
    element("h2", { id: "card-title", tabindex: "-1" }, `Trial ${number}`),
    element("p", {}, element("span", { class: `state ${state[index]}` }, state[index]), front.has(index) ? element("span", { class: "mark" }, " ● on the front") : ""),
    element("p", { class: "soft" }, components(index).join(" · ")),
    ...part("Result", facts([
      ...["miou", "miou_best", "pixel_accuracy"].map((name) => [label(name), human(name, column(name)[index])]),
      ["epochs", `${column("epochs")[index]} of ${column("epochs_planned")[index]}`],
      ["training", human("train_seconds", column("train_seconds")[index])],
      ["IoU by class", (study.class_iou[index] ?? []).map((iou, at) => `${study.classes[at] ?? at}: ${isNumber(iou) ? iou.toFixed(3) : "–"}`).join(", ")],
    ])),
    ...curvePart(index),
    ...part("Costs", facts(["macs", "macs_conv", "params", "activation_bytes", "latency_ms", "peak_memory_bytes", "train_memory_bytes"]
      .map((name) => [label(name).replace(/ \[.*\]$/, ""), human(name, column(name)[index])]))),
    ...part("Choices", facts(Object.keys(study.questions).map((path) => [shortName(path), human("", column(path, "questions")[index])]))),
    ...trouble(index),
    ...part("Commands", ...study.commands.map(({ label: name, before, after }) => command(name, `${before}${number}${after}`))),
    ...everything(index),
  );
  card.hidden = false;
  card.scrollTop = 0;
  for (const row of document.querySelectorAll("tr.open")) row.classList.remove("open");
  document.querySelector(`#table tr[data-index="${index}"]`)?.classList.add("open");
  const node = byId("card-plot");
  if (node && "Plotly" in window) drawCurve(node, index);
  byId("card-title").focus({ preventScroll: true });
}

function closeCard() {
  byId("card").hidden = true;
  for (const row of document.querySelectorAll("tr.open")) row.classList.remove("open");
  opener?.focus?.({ preventScroll: true });
}

addEventListener("keydown", (event) => { if (event.key === "Escape" && !byId("card").hidden) closeCard(); });

const part = (title, ...content) => (content.some((one) => one.childElementCount) ? [element("h3", {}, title), ...content] : []);

function curvePart(index) {
  if (study.curves[index]) return [element("h3", {}, "mIoU over epochs"), element("div", { id: "card-plot", class: "plot" })];
  return column("epochs")[index] ? [element("p", { class: "soft" }, "Its curve is not on this page; the first command below shows it.")] : [];
}

function drawCurve(node, index) {
  const curve = study.curves[index], dots = curve.epoch.length < 40;
  Plotly.react(node, [{
    type: "scatter", mode: dots ? "lines+markers" : "lines", x: curve.epoch, y: curve.miou, line: { color: colourOf("accent"), width: 2 }, marker: { size: 5 },
    hovertemplate: "epoch %{x}: %{y:.4f}<extra></extra>",
  }], layout({
    height: 190, showlegend: false, margin: { l: 40, r: 8, t: 8, b: 34 }, dragmode: false, hovermode: "x",
    xaxis: axis({ title: titled("epoch"), nticks: 6, tickformat: "d" }), yaxis: axis({ nticks: 5 }),
  }), { displayModeBar: false, responsive: true });
}

function trouble(index) {
  const own = ["exceeded", "error"].filter((name) => column(name)[index] !== null);
  if (!own.length) return [];
  const limit = column("exceeded")[index];
  const over = limit && `${label(limit)} ${human(limit, column("exceeded_value")[index])} is above ${human(limit, column("exceeded_limit")[index])}`;
  return part(state[index] === "rejected" ? "Why it was rejected" : "What went wrong", element("div", {}, over ? element("p", {}, over) : "",
    column("error")[index] ? element("pre", {}, column("error")[index]) : ""));
}

function command(name, text) {
  const shown = element("pre", {}, text);
  const copy = async (event) => {
    const button = event.currentTarget;
    getSelection().selectAllChildren(shown);
    // Some browsers give no clipboard to a page that is a file: then it is selected, ready for the keyboard.
    try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { button.textContent = "Selected"; }
  };
  return element("div", {}, element("p", { class: "soft" }, name), element("div", { class: "copy" }, shown, element("button", { type: "button", onclick: copy }, "Copy")));
}

function everything(index) {
  const rest = [["fingerprint", column("fingerprint")[index]], ["seed", column("seed")[index]], ["chosen by", column("origin")[index]], ["arm", column("arm")[index]], ["host", column("host")[index]], ["device", column("device")[index]],
    ...Object.keys(study.choices).map((path) => [path, column(path, "choices")[index]])];
  return [element("h3", {}, "In full"), element("details", {}, element("summary", {}, "Every option, chosen or given"), facts(rest.map(([name, value]) => [name, human(name, value)])))];
}
