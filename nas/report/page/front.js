// The front, over any two figures; and how fast it was found.

/** The trials that nothing beats in two figures, in the order of the first. */
function frontOf(indices, x, y) {
  const across = column(x), up = column(y), sign = better(x) ? -1 : 1, gain = better(y) ? 1 : -1;
  const order = [...indices].sort((a, b) => sign * (across[a] - across[b]) || gain * (up[b] - up[a]));
  const kept = [];
  for (const index of order) {
    const last = kept.at(-1);
    const equal = last !== undefined && across[last] === across[index] && up[last] === up[index];
    if (last === undefined || equal || gain * up[index] > gain * up[last]) kept.push(index);
  }
  return kept;
}

function drawFront(node) {
  const x = byId("across").value, y = byId("upwards").value, by = byId("colour").value;
  const complete = everyone.filter((index) => isNumber(column(x)[index]) && isNumber(column(y)[index]) && !outside[index]);
  const done = complete.filter(isFinal), cut = complete.filter((index) => !isFinal(index) && state[index] !== "rejected");
  if (!complete.length) {
    byId("front-words").textContent = "";
    nothing(node, `No trial has both ${label(x)} and ${label(y)} yet.`);
    return;
  }
  const drawn = frontOf(done, x, y), own = x === study.x && y === study.y;
  // Of three objectives, those on the front of all need not be on that of the two drawn.
  const best = own ? study.front.filter((index) => done.includes(index)) : drawn;
  const shown = new Set(best);
  const others = done.filter((index) => !shown.has(index));
  const gl = scatterType(complete.length);
  const points = (indices, name, marker, more = {}) => ({
    type: gl, mode: "markers", name, x: indices.map((i) => column(x)[i]), y: indices.map((i) => column(y)[i]),
    customdata: indices, hoverinfo: "none", marker, ...more,
  });
  const traces = [
    points(cut, "stopped early or unfinished", { color: "rgba(0,0,0,0)", size: 7, line: { color: colourOf("wait"), width: 1.2 } }, { visible: "legendonly" }),
    ...coloured(by, others, points),
    points(drawn, "", {}, { mode: "lines", line: { shape: "hv", width: 1.6, color: colourOf("accent") }, showlegend: false, hoverinfo: "skip", customdata: null }),
    ...(by ? coloured(by, best, points, true) : [points(best, "front", { color: colourOf("accent"), size: 11, line: { color: colourOf("sheet"), width: 1.5 } })]),
  ].filter((trace) => trace.x.length);
  plot(node, traces, layout({
    height: heights["front-plot"], uirevision: `${x} ${y}`,
    xaxis: axis({ title: axisTitle(x), ...scaled(complete.map((i) => column(x)[i])), ...range(complete, x) }),
    yaxis: axis({ title: axisTitle(y), ...range(complete, y) }),
  }));
  const words = own ? Object.keys(study.objectives).map(label).join(", ") : `${label(y)} and ${label(x)}`;
  byId("front-words").textContent = `${best.length} of ${done.length} finished trials are on the front of ${words}. ` +
    (cut.length ? `${cut.length} that were stopped early or are unfinished are hidden: click their name above to see where they stood. ` : "") +
    "Point at a trial for its network; click it for its card.";
}

/** One value, or equal ones, would leave an axis without a width. */
function range(indices, name) {
  const values = new Set(indices.map((index) => column(name)[index]));
  if (values.size !== 1) return {};
  const [value] = values, margin = Math.abs(value) * 0.1 || 1;
  return { range: [value - margin, value + margin], type: "linear" };
}

/** A trace for each level of a column, the most frequent first; what is beyond the palette shares one. */
function coloured(by, indices, points, onFront = false) {
  if (!by) return [points(indices, "finished", { color: colourOf("dot"), size: 7, opacity: 0.75 })];
  const values = slots.includes(by) ? column(by) : column(by, "questions");
  const counts = new Map();
  for (const index of everyone) if (isFinal(index)) counts.set(values[index], (counts.get(values[index]) ?? 0) + 1);
  const levels = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a)), colours = palette();
  const groups = new Map();
  for (const index of indices) {
    const at = Math.min(levels.indexOf(values[index]), colours.length - 1);
    groups.set(at, [...(groups.get(at) ?? []), index]);
  }
  return [...groups].sort(([a], [b]) => a - b).map(([at, members]) => {
    const rest = at === colours.length - 1 && levels.length > colours.length;
    const name = rest ? "others" : shortened(human("", levels[at]) || "–");
    const marker = { color: colours[at], symbol: symbols[at], size: onFront ? 12 : 7, opacity: onFront ? 1 : 0.7 };
    const ring = { line: { color: colourOf("ink"), width: onFront ? 1.5 : 0 } };
    return points(members, escaped(name), { ...marker, ...ring }, { legendgroup: String(at), showlegend: onFront || !study.front.some((i) => values[i] === levels[at]) });
  });
}

const costs = { epochs: "epochs trained", hours: "hours of training" };

/** A share of what there is to reach, where that can be said. */
const measure = study.progress.every((row) => isNumber(row.share)) ? "share" : "hypervolume";

function drawProgress(node) {
  const over = document.querySelector("input[name=over]:checked")?.value ?? "epochs";
  const course = study.progress.filter((row) => isNumber(row[over]) && isNumber(row[measure]));
  if (!course.length) {
    byId("progress-words").textContent = "";
    nothing(node, "No trial has finished: there is no volume to follow yet.");
    return;
  }
  const place = new Map(column("number").map((number, index) => [number, index]));
  plot(node, [{
    type: scatterType(course.length), mode: "lines", x: course.map((row) => row[over]), y: course.map((row) => row[measure]),
    customdata: course.map((row) => place.get(row.trial)), hoverinfo: "none",
    line: { shape: "hv", width: 2, color: colourOf("accent") },
  }], layout({
    height: heights["progress-plot"], showlegend: false,
    xaxis: axis({ title: titled(costs[over]), rangemode: "tozero" }),
    yaxis: axis({ title: titled("hypervolume"), rangemode: "tozero", exponentformat: "power" }),
  }));
  const stated = Object.entries(study.reference).map(([name, value]) => `${label(name)} ${human(name, value)}`).join(", ");
  byId("progress-words").textContent = `The volume between the front and the reference point (${stated}), after each trial that ended` +
    `${measure === "share" ? ", as a share of what a perfect network at no cost would reach" : ""}; ` +
    "cost counts every epoch trained until then, those of stopped and failed trials too.";
}
