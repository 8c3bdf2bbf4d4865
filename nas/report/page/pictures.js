// Choices side by side, effects, learning curves and rungs.

const mostLines = 3000;
const mostDimensions = 10;

/** Lines of one level, which arrive worst first, side by side: how many they are, and where the best go, stays visible. */
function spread(codes) {
  const sizes = new Map(), seen = new Map();
  for (const code of codes) sizes.set(code, (sizes.get(code) ?? 0) + 1);
  return codes.map((code) => {
    const at = seen.get(code) ?? 0, size = sizes.get(code);
    seen.set(code, at + 1);
    return size > 1 ? code + 0.44 * (at / (size - 1) - 0.5) : code;
  });
}

/** Numbers as they are or by their logarithm; anything else as one tick a level. */
function dimension(path, table, indices) {
  const values = column(path, table), name = escaped(shortened(table === "columns" ? label(path) : path.split(".").slice(path.startsWith("training.") ? -1 : -2).join(".").replace(/^architecture\./, ""), 20));
  const present = indices.map((index) => values[index]);
  const numbers = present.filter(isNumber);
  if (numbers.length === present.length && new Set(numbers).size > 6) {
    if (scaleOf(numbers) === "linear") return { label: name, values: numbers, range: extent(numbers), tickformat: scores.has(path) ? ".2~f" : "~s" };
    const [low, high] = extent(numbers), { tickvals, ticktext } = logTicks(numbers);
    const inside = tickvals.map((tick, at) => [tick, ticktext[at]]).filter(([tick]) => low <= tick && tick <= high);
    return { label: name, values: numbers.map(Math.log10), range: [low, high].map(Math.log10), tickvals: inside.map(([tick]) => Math.log10(tick)), ticktext: inside.map(([, text]) => text) };
  }
  // A question that was not asked is a level of its own, below the others.
  const levels = [...new Set(present)].sort((a, b) => (a === null) - (b === null) || (isNumber(a) && isNumber(b) ? a - b : String(a).localeCompare(String(b)))).reverse();
  const margin = levels.length === 1 ? 1 : 0.3;
  return {
    label: name, values: spread(present.map((value) => levels.indexOf(value))), tickvals: levels.map((_, at) => at),
    ticktext: levels.map((value) => escaped(shortened(value === null ? "not asked" : human("", value), 18))), range: [-margin, levels.length - 1 + margin],
  };
}

/** Those that were asked most often come first: the slots of the network, then their options. */
function defaultDimensions(indices) {
  const asked = (path) => indices.filter((index) => column(path, "questions")[index] !== null).length;
  return [...questions].map((path) => [path, asked(path)]).sort(([, a], [, b]) => b - a).slice(0, mostDimensions - 2).map(([path]) => path);
}

function drawChoices(node) {
  const known = everyone.filter((index) => isFinal(index) && isNumber(column(study.y)[index]) && isNumber(column(study.x)[index]));
  const step = Math.ceil(known.length / mostLines) || 1;
  const indices = known.filter((index, at) => at % step === 0 || front.has(index));
  const box = byId("dimensions");
  if (!indices.length || !questions.length) {
    byId("choices-words").textContent = "";
    nothing(node, questions.length ? "No trial has finished yet." : "Nothing varied in this study.");
    return;
  }
  if (!box.children.length) {
    const shown = new Set(defaultDimensions(indices));
    box.replaceChildren(...questions.map((path) => element("label", {}, element("input", {
      type: "checkbox", value: path, checked: shown.has(path), onchange: () => redraw("choices-plot"),
    }), shortName(path))));
  }
  const paths = [...box.querySelectorAll("input:checked")].map((input) => input.value);
  const score = indices.map((index) => column(study.y)[index]);
  // Drawn last is drawn on top: the best.
  const order = indices.map((_, at) => at).sort((a, b) => (better(study.y) ? 1 : -1) * (score[a] - score[b]));
  const sorted = order.map((at) => indices[at]);
  plot(node, [{
    type: "parcoords", labelfont: { size: 12, color: colourOf("ink") }, tickfont: { size: 11, color: colourOf("soft") }, rangefont: { size: 1, color: "rgba(0,0,0,0)" },
    line: { color: sorted.map((index) => column(study.y)[index]), colorscale: "Cividis", reversescale: !media.matches, showscale: true,
      colorbar: { title: { text: escaped(label(study.y)), side: "right", font: { size: 12 } }, thickness: 10, outlinewidth: 0, len: 0.9 } },
    unselected: { line: { opacity: 0.06 } },
    dimensions: [...paths.map((path) => dimension(path, "questions", sorted)), dimension(study.x, "columns", sorted), dimension(study.y, "columns", sorted)],
  }], layout({ height: heights["choices-plot"], margin: { l: 128, r: 40, t: 60, b: 24 } }));
  const thinned = step > 1 ? ` The front and every ${step}th other of ${known.length} are drawn.` : "";
  byId("choices-words").textContent = `A line for each finished trial; those that chose the same lie side by side, the best on top. Drag along an axis to keep only what passes there; drag its name to move it.${thinned}`;
}

/** A line for each question, and under it one for each of its options, the best first. */
const effectLines = Object.entries(Object.groupBy(study.effects.filter((row) => isNumber(row.difference)), (row) => row.question))
  .flatMap(([head, rows]) => [{ head }, ...rows.sort((a, b) => b.difference - a.difference).map((row) => ({ row }))]);
heights["effects-plot"] = effectLines.length ? 110 + 24 * effectLines.length : 0;
heights["rungs-plot"] = study.rungs.length ? 320 : 0;

function drawEffects(node) {
  const lines = effectLines;
  byId("effects-details").hidden = !study.effects.length;
  if (!lines.length) {
    byId("effects-words").textContent = "";
    nothing(node, study.effects.length ? "There are too few finished trials to tell the options apart." : "Nothing that varied has finished trials to compare.");
    return;
  }
  const clear = (row) => (isNumber(row.p) ? row.p < 0.05 : isNumber(row.low) && row.low * row.high > 0);
  const trace = (test, name, colour, hollow = false) => {
    const own = lines.map((line, at) => ({ ...line, at })).filter((line) => line.row && test(line.row));
    return {
      type: "scatter", mode: "markers", name, x: own.map(({ row }) => row.difference), y: own.map(({ at }) => -at),
      marker: hollow ? { color: "rgba(0,0,0,0)", size: 8, line: { color: colour, width: 1.5 } } : { color: colour, size: 9 }, hoverinfo: "text", hoverlabel: { bgcolor: colourOf("sheet"), bordercolor: colourOf("line"), font: { color: colourOf("ink") } },
      text: own.map(({ row }) => escaped(`${row.option}: ${signed(row.difference)} mIoU, ${row.trials} trials${row.note ? `, ${row.note}` : ""}`)),
      error_x: { type: "data", symmetric: false, color: colour, thickness: 1.6, width: 0,
        array: own.map(({ row }) => (isNumber(row.high) ? row.high - row.difference : 0)),
        arrayminus: own.map(({ row }) => (isNumber(row.low) ? row.difference - row.low : 0)) },
    };
  };
  const colours = palette();
  plot(node, [
    trace((row) => clear(row) && row.difference > 0, "better than the mean option", colours[0]),
    trace((row) => clear(row) && row.difference < 0, "worse", colours[3]),
    trace((row) => !clear(row) && isNumber(row.low), "not told apart", colourOf("dot")),
    trace((row) => !isNumber(row.low), "too few trials for an interval", colourOf("dot"), true),
  ].filter((one) => one.x.length), layout({
    height: heights["effects-plot"], showlegend: true, margin: { l: 60, r: 16, t: 30, b: 44 },
    xaxis: axis({ title: titled("difference in mIoU"), zeroline: true, zerolinecolor: colourOf("soft"), tickformat: "+.3~f" }),
    yaxis: axis({ range: [-lines.length + 0.4, 0.6], showgrid: false, fixedrange: true, tickvals: lines.map((_, at) => -at),
      ticktext: lines.map((line) => (line.head ? `<b>${escaped(shortened(shortName(line.head), 40))}</b>` : escaped(shortened(String(line.row.option), 34)))) }),
  }));
  byId("effects-words").textContent = "Difference in mIoU to the mean of the options of the same question, with its 95 % interval, by an additive regression that " +
    "accounts for the other choices. Coloured where the difference holds after Holm's correction; grey where these trials cannot tell.";
}

const signed = (value) => (isNumber(value) ? `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}` : "");

function importanceTable() {
  if (!study.importances.length) return [];
  const share = (value) => element("td", { class: "number" }, isNumber(value) ? `${(100 * value).toFixed(0)} %` : "");
  const heads = ["Question", "Networks", "For the front", "For the highest mIoU"].map((title, at) => element("th", { scope: "col", class: at ? "number" : "" }, title));
  const rows = study.importances.map((row) => element("tr", {}, element("td", {}, shortName(row.question)), element("td", { class: "number" }, human("", row.trials)), share(row.front_importance), share(row.miou_importance)));
  return [
    element("p", { class: "soft" }, "Importance by Optuna's PED-ANOVA: shares in what sets the best tenth (at least five networks) apart from all. They describe, and are no test."),
    element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)),
  ];
}

function effectsTable() {
  const heads = [["question", "Question"], ["option", "Option"], ["trials", "Trials"], ["front_share", "Share of the front"], ["difference", "Difference"],
    ["low", "From"], ["high", "To"], ["p", "p (Holm)"], ["miou_per_gflop", "mIoU per GFLOP"], ["note", "Note"]];
  const written = { front_share: (v) => `${(100 * v).toFixed(0)} %`, difference: signed, low: signed, high: signed, miou_per_gflop: signed, p: (v) => (v < 0.001 ? "< 0.001" : v.toFixed(3)) };
  const cell = (row, name) => {
    const value = row[name], text = value === null || value === undefined ? "" : isNumber(value) && written[name] ? written[name](value) : human("", value);
    return element("td", { class: isNumber(value) ? "number" : name === "note" ? "long" : "", title: name === "note" ? text : null }, name === "question" ? shortName(text) : text);
  };
  const kept = heads.filter(([name]) => study.effects.some((row) => row[name] !== null && row[name] !== undefined && row[name] !== ""));
  const numeric = (name) => study.effects.some((row) => isNumber(row[name]));
  return element("table", {},
    element("thead", {}, element("tr", {}, ...kept.map(([name, title]) => element("th", { scope: "col", class: numeric(name) ? "number" : "" }, title)))),
    element("tbody", {}, ...study.effects.map((row) => element("tr", {}, ...kept.map(([name]) => cell(row, name))))));
}

/** One trace for all curves of a kind: a gap between two trials costs a point, a trace of its own far more. */
function curveTrace(entries, name, colour, width, opacity) {
  const x = [], y = [], customdata = [];
  for (const [index, curve] of entries) {
    x.push(...curve.epoch, null);
    y.push(...curve.miou, null);
    for (let at = 0; at <= curve.epoch.length; at++) customdata.push(index);
  }
  return { type: scatterType(x.length), mode: entries.every(([, curve]) => curve.epoch.length === 1) ? "markers" : "lines", name, x, y, customdata, hoverinfo: "none",
    connectgaps: false, opacity, line: { color: colour, width }, marker: { size: 4 } };
}

function drawCurves(node) {
  const entries = Object.entries(study.curves).map(([index, curve]) => [Number(index), curve]).filter(([, curve]) => curve.miou.some(isNumber));
  if (!entries.length) {
    byId("curves-words").textContent = "";
    nothing(node, "No epoch has been recorded.");
    return;
  }
  const longest = Math.max(2, ...entries.map(([, curve]) => curve.epoch.at(-1)));
  const best = entries.filter(([index]) => front.has(index));
  const others = entries.filter(([index]) => isFinal(index) && !front.has(index));
  const cut = entries.filter(([index]) => !isFinal(index));
  plot(node, [
    curveTrace(cut, "stopped early or unfinished", colourOf("wait"), 1.2, 0.55), curveTrace(others, "finished", colourOf("dot"), 1.2, 0.7),
    curveTrace(best, "front", colourOf("accent"), 2, 1),
  ].filter((trace) => trace.x.length), layout({
    height: heights["curves-plot"],
    xaxis: axis({ title: titled("epoch"), range: [1 - 0.02 * longest, 1.01 * longest], nticks: 12, tickformat: "d" }), yaxis: axis({ title: titled("mIoU") }),
    shapes: study.rungs.map(({ epochs }) => ({ type: "line", xref: "x", yref: "paper", x0: epochs, x1: epochs, y0: 0, y1: 1, line: { color: colourOf("soft"), width: 1, dash: "dot" } })),
  }));
  byId("curves-words").textContent = `mIoU after each epoch of ${entries.length} ${entries.length === 1 ? "trial" : "trials"}.${study.rungs.length ? " Dotted: the rungs at which trials were compared." : ""}`;
}

/** A small front at each rung: early stopping looks at the cost, too. */
function drawRungs(node) {
  const rungs = study.rungs.slice(0, 6);
  if (!rungs.length) {
    byId("rungs-words").textContent = "Nothing was stopped early in this study: every trial was meant to train its full schedule.";
    node.hidden = true;
    return;
  }
  const cost = column(study.x), gap = 0.05, wide = (1 - gap * (rungs.length - 1)) / rungs.length;
  const scale = scaled(rungs.flatMap((rung) => rung.trials.map((index) => cost[index])).filter(isNumber), true);
  const shape = { height: heights["rungs-plot"], annotations: [], margin: { l: 60, r: 16, t: 70, b: 48 }, legend: { orientation: "h", x: 0, y: 1.2, yanchor: "bottom", font: { size: 12 } } };
  const traces = [];
  rungs.forEach((rung, at) => {
    const suffix = at ? at + 1 : "", left = at * (wide + gap);
    shape[`xaxis${suffix}`] = axis({ domain: [left, left + wide], ...scale, anchor: `y${suffix}`, matches: at ? "x" : undefined, title: titled(label(study.x)) });
    shape[`yaxis${suffix}`] = axis({ anchor: `x${suffix}`, nticks: 6, title: titled(at ? "" : "mIoU there") });
    const on = rung.went_on.filter(Boolean).length;
    shape.annotations.push({ xref: "paper", yref: "paper", x: left, y: 1.02, xanchor: "left", yanchor: "bottom", showarrow: false, align: "left", font: { size: 12, color: colourOf("ink") },
      text: `<b>${rung.epochs} ${rung.epochs === 1 ? "epoch" : "epochs"}</b><br>${on} of ${rung.trials.length} went on` });
    for (const [went, name, marker] of [
      [false, "ended or waits there", { color: "rgba(0,0,0,0)", size: 7, line: { width: 1.4, color: colourOf("wait") } }],
      [true, "went on", { color: colourOf("accent"), size: 7 }],
    ]) {
      const own = rung.trials.map((index, place) => ({ index, miou: rung.miou[place], on: rung.went_on[place] })).filter((one) => one.on === went && isNumber(one.miou));
      traces.push({ type: scatterType(own.length), mode: "markers", name, legendgroup: name, showlegend: at === 0, xaxis: `x${suffix}`, yaxis: `y${suffix}`, marker, hoverinfo: "none",
        x: own.map(({ index }) => cost[index]), y: own.map(({ miou }) => miou), customdata: own.map(({ index }) => index) });
    }
  });
  plot(node, traces, layout(shape));
  const more = study.rungs.length > rungs.length ? ` The first ${rungs.length} of ${study.rungs.length} rungs are drawn.` : "";
  byId("rungs-words").textContent = `Who reached which rung, with which mIoU there, over ${label(study.x)}. A rung is ranked by fronts: a cheap network goes on with less mIoU than a dear one.${more}`;
}
