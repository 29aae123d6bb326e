// A block or a head by its address: every number the results have about it, twins side by side.

import { button, element, said } from "./elements.js";
import { entry } from "./entries.js";
import { answer, asked, go } from "./addresses.js";
import { patternsOf } from "./patterns.js";
import { onTwins, shownTwins } from "./twins.js";

const box = document.getElementById("place");
const [title, body] = [box.querySelector("h2"), box.querySelector(".numbers-of")];

// The numbers about blocks, by model and block; read when an address first asks.
let read = null;
async function estimates() {
  const ledger = document.querySelector(".ledger[data-name=estimates]");
  if (!ledger) return { rows: [], models: [] };
  const { fields, texts, columns } = await entry(ledger.dataset.entry);
  const at = Object.fromEntries(fields.map((name, i) => [name, columns[i]]));
  const rows = [];
  for (let i = 0; i < at.site.length; i++) {
    const block = /\.(\d+)$/.exec(texts[at.site[i]])?.[1];
    if (block === undefined) continue;
    const [model, twin, analysis, metric, site, item] = [
      "model", "compression", "analysis", "metric", "site", "item",
    ].map((name) => texts[at[name][i]] ?? "");
    const head = /^head (\d+)\b/.exec(item)?.[1];
    const numbers = { value: at.value[i], low: at.low[i], high: at.high[i], noise: at.noise[i] };
    rows.push({ model, twin, measure: `${analysis}: ${metric}`, site, item, block, head, ...numbers });
  }
  return { rows, models: [...new Set(rows.map((row) => row.model))] };
}

function cell(row) {
  if (!row || row.value === null) return element("td", "–", "number");
  const made = element("td", said(row.value), "number");
  const parts = [];
  if (row.low !== null) parts.push(`95 % interval ${said(row.low)} to ${said(row.high)}`);
  if (row.noise !== null) parts.push(`weight noise of the same size ${said(row.noise)}`);
  made.title = parts.join("; ");
  if (row.low !== null) {
    made.append(element("span", ` [${said(row.low)}, ${said(row.high)}]`, "interval"));
  }
  return made;
}

function table(rows) {
  const twins = shownTwins();
  const lines = new Map();
  for (const row of rows) {
    const key = [row.measure, row.site, row.item].join("\n");
    if (!lines.has(key)) lines.set(key, { row, by: new Map() });
    lines.get(key).by.set(row.twin, row);
  }
  const made = element("table");
  const head = made.createTHead().insertRow();
  for (const name of ["measure", ...twins]) {
    const th = element("th", name, name === "measure" ? "" : "number");
    th.scope = "col";
    head.append(th);
  }
  const rest = made.createTBody();
  for (const { row, by } of lines.values()) {
    if (!twins.some((twin) => by.has(twin))) continue;
    const line = rest.insertRow();
    const th = element("th", `${row.measure}, ${[row.site, row.item].filter(Boolean).join(", ")}`);
    th.scope = "row";
    line.append(th, ...twins.map((twin) => cell(by.get(twin))));
  }
  return made;
}

async function show(place) {
  if (place.layer === undefined) {
    box.hidden = true;
    return place.head === undefined ? undefined : false;
  }
  read ??= estimates();
  const { rows, models } = await read;
  const model = place.model ?? models[0];
  const ofModel = rows.filter((row) => row.model === model);
  const mine = ofModel.filter(
    (row) => row.block === place.layer && (place.head === undefined || row.head === place.head),
  );
  box.hidden = mine.length === 0;
  if (!mine.length) return false;
  const named = place.head === undefined ? `Block ${place.layer}` : `Head ${place.layer}.${place.head}`;
  title.textContent = models.length > 1 ? `${named} of ${model}` : named;
  steps(place, ofModel);
  const wide = element("div", undefined, "scroll");
  wide.tabIndex = 0;
  wide.append(table(mine.filter((row) => place.head !== undefined || row.head === undefined)));
  const view = place.head === undefined ? undefined : await patternsOf({ ...place, model });
  if (asked()?.layer !== place.layer || asked()?.head !== place.head) return true;
  box.classList.toggle("wide", view !== undefined);
  body.replaceChildren(...(view ? [view.box] : []), wide);
  view?.draw();
  return true;
}

function steps(place, rows) {
  const heads = new Set(
    rows.filter((row) => row.block === place.layer && row.head !== undefined).map((row) => row.head),
  );
  const links = [...heads].sort((a, b) => a - b).map((head) => {
    const link = element("a", `head ${head}`);
    if (head === place.head) link.setAttribute("aria-current", "true");
    const model = place.model === undefined ? {} : { model: place.model };
    link.href = `#${new URLSearchParams({ ...model, layer: place.layer, head })}`;
    link.addEventListener("click", (event) => {
      event.preventDefault();
      go({ ...place, head });
    });
    return link;
  });
  const last = Math.max(...rows.map((row) => Number(row.block)));
  const to = (by) => () => go({ ...place, head: undefined, layer: String(Number(place.layer) + by) });
  const before = button("Previous block", to(-1));
  const after = button("Next block", to(1));
  before.disabled = place.layer === "0";
  after.disabled = Number(place.layer) === last;
  box.querySelector(".steps").replaceChildren(before, after, ...links);
}

box.querySelector(".close").addEventListener("click", () =>
  go({ ...asked(), layer: undefined, head: undefined, model: undefined, unknown: undefined }),
);
box.addEventListener("keydown", (event) => {
  if (event.key === "Escape") box.querySelector(".close").click();
});
answer(show);
onTwins(() => box.hidden || show(asked() ?? {}));
