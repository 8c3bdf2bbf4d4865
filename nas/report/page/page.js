// Puts the page together.

function setHeader() {
  const finals = everyone.filter(isFinal), total = Object.values(study.counts).reduce((sum, one) => sum + one, 0);
  const best = Math.max(...finals.map((index) => column("miou")[index]).filter(isNumber));
  const last = study.progress.at(-1), done = (study.counts.finished ?? 0) + (study.counts.replayed ?? 0);
  const goals = Object.entries(study.objectives).map(([name, way]) => `${label(name)} ${way === "max" ? "↑" : "↓"}`).join(", ");
  const limits = Object.entries(study.budget).map(([name, value]) => `${label(name)} at most ${human(name, value)}`).join(", ");
  byId("about").textContent = [`Objectives: ${goals || "none that is recorded"}.`, limits && `Budget: ${limits}.`, `Seed ${study.seed}. Begun ${study.created}.`].filter(Boolean).join(" ");
  const figures = [
    ["trials", total.toLocaleString("en")], ["finished", done.toLocaleString("en")], ["on the front", study.front.length],
    ["best mIoU", Number.isFinite(best) ? best.toFixed(4) : null], ["hypervolume", last && last[measure] > 0 ? Number(last[measure].toPrecision(4)) : null],
    ["epochs trained", last ? last.epochs.toLocaleString("en") : null], ["hours of training", last && last.hours > 0 ? Number(last.hours.toPrecision(3)) : null],
  ].filter(([, value]) => value !== null && value !== undefined);
  byId("figures").replaceChildren(...figures.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value)))));
  byId("notes").replaceChildren(...study.notes.map((note) => element("li", {}, note)));
  byId("footer").textContent = `Written ${study.written} by segnas ${study.version} from ${study.store}. MACs count every multiply-accumulate, attention included; mIoU is that of the last epoch.`;
  const sections = [...document.querySelectorAll("main section")];
  document.querySelector("nav").replaceChildren(element("ul", {}, ...sections.map((section) => element("li", {}, element("a", { href: `#${section.id}` }, names[section.id])))));
}

const names = { front: "Front", progress: "Hypervolume", choices: "Choices", effects: "Effects", stopping: "Curves", failures: "Failures", trials: "Trials", provenance: "Provenance" };

function setControls() {
  const choose = (id, values, chosen, titles) => {
    byId(id).replaceChildren(...values.map((value) => element("option", { value, selected: value === chosen }, titles(value))));
    byId(id).addEventListener("change", () => redraw("front-plot"));
  };
  const axes = Object.keys(study.axes);
  choose("across", axes, study.x, label);
  choose("upwards", axes, study.y, label);
  const varied = [...slots.filter((name) => new Set(column(name)).size > 1), ...questions.filter((path) => !slots.includes(shortName(path)))];
  choose("colour", ["", ...varied], "", (value) => (value ? shortName(value) : "nothing"));
  byId("spent").replaceChildren(...Object.entries(costs).map(([name, title], at) => element("label", {}, element("input", { type: "radio", name: "over", value: name, checked: at === 0, onchange: () => redraw("progress-plot") }), title)));
}

function setFailures() {
  const number = (index) => element("button", { type: "button", class: "link", onclick: () => openCard(index) }, String(column("number")[index]));
  const some = 24;
  const made = study.failures.map((group) => element("div", { class: "reason" },
    element("p", {}, element("span", { class: `state ${group.state}` }, `${group.trials.length} ${group.state}`), ` ${group.reason}`),
    element("p", { class: "soft" }, "Trials ", ...group.trials.slice(0, some).flatMap((index, at) => [at ? ", " : "", number(index)]), group.trials.length > some ? ` and ${group.trials.length - some} more` : ""),
    ...["traceback", "log"].filter((name) => group[name]).map((name) => element("details", {}, element("summary", {}, `${name === "log" ? "Log" : "Traceback"} of trial ${column("number")[group.trials[0]]}`), element("pre", {}, group[name])))));
  const left = Object.entries(study.counts).filter(([name]) => ["proposed", "running", "paused", "interrupted"].includes(name)).map(([name, many]) => `${many} ${name}`);
  if (left.length) made.push(element("p", { class: "soft reason" }, `Not at their end: ${left.join(", ")}.`));
  byId("failures-list").replaceChildren(...(made.length ? made : [element("p", { class: "soft" }, "Nothing failed, and nothing was rejected or skipped.")]));
}

function setProvenance() {
  const runs = study.provenance.map((run, at) => element("div", { class: "reason" },
    ...(study.provenance.length > 1 ? [element("h3", {}, at ? `Resumed (${at})` : "Started")] : []), facts(Object.entries(run))));
  const space = study.space.trim() ? [element("details", { class: "reason" }, element("summary", {}, "The search space, as it was read"), element("pre", {}, study.space))] : [];
  byId("provenance-list").replaceChildren(...(runs.length ? runs : [element("p", { class: "soft" }, "Where and with what it was run has not been recorded.")]), ...space);
}

setHeader();
setControls();
setFailures();
setProvenance();
setTable();
byId("effects-table").replaceChildren(effectsTable(), ...importanceTable());
addEventListener("DOMContentLoaded", setPictures);

/** Plotly stands at the end of the page. */
function setPictures() {
  const all = { front: drawFront, progress: drawProgress, choices: drawChoices, effects: drawEffects, curves: drawCurves, rungs: drawRungs };
  for (const [name, draw] of Object.entries(all)) picture(`${name}-plot`, draw);
  drawNow("front-plot");
  document.documentElement.dataset.ready = "yes";
}
