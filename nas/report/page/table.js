// Every trial: sorted, searched, a hundred at a time.

const perPage = 100;
const view = { by: "number", table: "columns", descending: false, page: 0, words: [], which: "all" };
const choosable = new Map([
  ["all", ["all", () => true]], ["front", ["the front", (index) => front.has(index)]], ["final", ["finished", isFinal]],
  ...["stopped", "paused", "failed", "rejected", "skipped", "running", "interrupted", "proposed"].filter((name) => state.includes(name)).map((name) => [name, [name, (index) => state[index] === name]]),
]);

/** Figures that some trial has, and what varied; what all share is in the card. */
const headings = [
  { name: "number", title: "Trial" }, { name: "state", title: "State" },
  ...[...new Set([study.y, study.x, "miou", "macs", "params", "latency_ms", "peak_memory_bytes"])].filter(has).map((name) => ({ name, title: label(name) })),
  ...slots.filter((name) => new Set(column(name)).size > 1).map((name) => ({ name, title: name })),
  ...questions.filter((path) => !slots.includes(shortName(path)) && !/\.model$/.test(path)).slice(0, 12).map((path) => ({ name: path, title: shortName(path), table: "questions" })),
  { name: "epochs", title: "Epochs" }, ...(has("train_seconds") ? [{ name: "train_seconds", title: "Training" }] : []), { name: "seed", title: "Seed" },
  ...(has("arm") ? [{ name: "arm", title: "Arm" }] : []), ...(has("error") ? [{ name: "error", title: "Error" }] : []),
].map((heading) => {
  const table = heading.table ?? "columns";
  return { ...heading, table, numeric: column(heading.name, table).every((value) => value === null || isNumber(value)) };
});

let haystack = null;
/** What can be searched in a trial, put together when somebody first searches. */
function searchable(index) {
  haystack ??= new Array(count);
  haystack[index] ??= [...headings.map(({ name, table }) => column(name, table)[index]), ...slots.map((name) => column(name)[index]), ...Object.keys(study.questions).map((path) => column(path, "questions")[index]),
    column("fingerprint")[index], front.has(index) ? "front" : ""].filter((value) => value !== null).join("\n").toLowerCase();
  return haystack[index];
}

function matching() {
  const [, test] = choosable.get(view.which);
  const found = everyone.filter((index) => test(index) && view.words.every((word) => searchable(index).includes(word)));
  const values = column(view.by, view.table), sign = view.descending ? -1 : 1;
  // What a trial does not have comes last, whichever way it is sorted.
  return found.sort((a, b) => {
    const [left, right] = [values[a], values[b]];
    if (left === null || right === null) return (left === null) - (right === null) || a - b;
    return sign * (isNumber(left) && isNumber(right) ? left - right : String(left).localeCompare(String(right), undefined, { numeric: true })) || a - b;
  });
}

function cell(heading, index) {
  const value = column(heading.name, heading.table)[index], text = human(heading.name, value);
  if (heading.name === "number") {
    return element("th", { scope: "row", class: "number" }, element("button", { type: "button", class: "link", onclick: (event) => { event.stopPropagation(); openCard(index); } }, `${front.has(index) ? "● " : ""}${text}`));
  }
  if (heading.name === "state") return element("td", {}, element("span", { class: `state ${value}` }, value));
  return element("td", { class: heading.numeric ? "number" : heading.name === "error" ? "long" : "", title: heading.name === "error" ? text : null }, heading.name === "error" ? text.split("\n")[0] : text);
}

function drawTable() {
  const found = matching(), last = Math.max(0, Math.ceil(found.length / perPage) - 1);
  view.page = Math.min(view.page, last);
  const shown = found.slice(view.page * perPage, (view.page + 1) * perPage);
  document.querySelector("#table tbody").replaceChildren(...shown.map((index) => element("tr", { "data-index": index, onclick: () => openCard(index) }, ...headings.map((heading) => cell(heading, index)))));
  for (const head of document.querySelectorAll("#table thead th")) {
    const sorted = head.dataset.name === view.by && head.dataset.table === view.table;
    head.setAttribute("aria-sort", sorted ? (view.descending ? "descending" : "ascending") : "none");
  }
  byId("matches").textContent = found.length === count ? `${count} trials` : `${found.length} of ${count} trials`;
  const turn = (name, by, disabled) => element("button", { type: "button", disabled, onclick: () => { view.page += by; drawTable(); } }, name);
  byId("pages").replaceChildren(...(last ? [turn("Previous", -1, view.page === 0), `Page ${view.page + 1} of ${last + 1}`, turn("Next", 1, view.page === last)] : []));
}

function sortBy({ name, table, numeric }) {
  const again = view.by === name && view.table === table;
  // Scores are read from the best down; everything else from the least up.
  view.descending = again ? !view.descending : numeric && scores.has(name);
  Object.assign(view, { by: name, table, page: 0 });
  drawTable();
}

function setTable() {
  document.querySelector("#table thead").replaceChildren(element("tr", {}, ...headings.map((heading) =>
    element("th", { scope: "col", class: heading.numeric ? "number" : "", "data-name": heading.name, "data-table": heading.table }, element("button", { type: "button", onclick: () => sortBy(heading) }, heading.title)))));
  byId("which").replaceChildren(...[...choosable].map(([name, [title]]) => element("option", { value: name }, title)));
  byId("which").addEventListener("change", (event) => { view.which = event.target.value; view.page = 0; drawTable(); });
  byId("search").addEventListener("input", (event) => { view.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean); view.page = 0; drawTable(); });
  drawTable();
}
