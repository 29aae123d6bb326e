// Charts: a panel is drawn when it is first seen, and again when other twins are picked.

import { chartTable, measured, summary } from "./charttables.js";
import { csv, inTurn, save, showTip } from "./elements.js";
import { entry, unpack } from "./entries.js";
import { isShown, onTwins, ownerOf } from "./twins.js";
import { go, modelOf } from "./addresses.js";

const config = JSON.parse(document.getElementById("config").textContent);
const MANY = 300;
const views = new Map();
const drawn = new Map();
const figures = new Map();

async function read(figure) {
  const held = await entry(figure.dataset.entry);
  const panels = held.panels.map(([frame, title]) => ({ frame: held.frames[frame], title, points: [] }));
  for (const [panel, ...cells] of unpack(held)) {
    const entries = cells.map((cell, i) => [held.fields[i + 1], cell]);
    panels[panel].points.push(Object.fromEntries(entries.filter(([, cell]) => cell !== null)));
  }
  return panels;
}

function contents(figure) {
  if (!figures.has(figure)) figures.set(figure, read(figure));
  return figures.get(figure);
}

// Rows of bars that nobody asked for leave their place to the others.
function without(rows, value) {
  if (Array.isArray(value)) return value.map((inner) => without(rows, inner));
  if (value === null || typeof value !== "object") return value;
  const inner = Object.entries(value).map(([key, held]) => {
    const rowsOnly = key === "domain" && Array.isArray(held) && !("range" in value);
    return [key, rowsOnly ? held.filter((name) => !rows.has(name)) : without(rows, held)];
  });
  return Object.fromEntries(inner);
}

// A chart of many marks says what each is when it is pointed at, and not for all beforehand, which
// takes longer than to draw them; its layers get their own points, so that none is looked through
// for the others'.
function lean(frame, points) {
  const layer = frame.layer.map(({ mark, encoding, transform = [], ...rest }) => {
    const { tooltip, ...seen } = encoding;
    const look = { ...mark, aria: false, tooltip: tooltip ? { content: "data" } : null };
    const [first, ...others] = transform;
    const kind = frame.transform ? undefined : first?.filter.equal;
    if (first?.filter.field !== "is" || kind === undefined) return { ...rest, transform, mark: look, encoding: seen };
    return { ...rest, data: { values: points.filter((point) => point.is === kind) }, transform: others, mark: look, encoding: seen };
  });
  return { ...frame, layer };
}

function short(value, format) {
  const digits = /^\.(\d+)~?g$/.exec(format)?.[1];
  return digits ? String(Number(value.toPrecision(digits))).replace("-", "−") : value;
}

function told(frame, item, datum) {
  const layer = frame.layer[/^layer_(\d+)_/.exec(item.mark.name)?.[1]];
  const fields = layer?.encoding.tooltip?.filter(({ field }) => field in datum);
  return fields && Object.fromEntries(fields.map(({ field, title, format }) => [title ?? field, short(datum[field], format)]));
}

function specOf({ frame: whole, title, points }, kept, label) {
  const frame = kept.length > MANY ? lean(whole, kept) : whole;
  const description = summary(label, kept);
  const spec = { ...frame, title, description, data: { values: kept }, width: "container" };
  const rows = new Set(points.map((point) => point.row).filter((row) => row !== undefined));
  const all = rows.size;
  for (const point of kept) rows.delete(point.row);
  if (!rows.size) return spec;
  const height = Math.round((frame.height * (all - rows.size)) / all);
  return { ...spec, ...without(rows, frame), height };
}

function lead(figure, point) {
  const where = { model: modelOf(figure), twin: point.who && isShown(point.who) ? [ownerOf(point.who)] : undefined };
  const section = figure.closest("section");
  if (figure.dataset.opens === "layer") return { ...where, layer: String(point.x) };
  if (figure.dataset.opens === "head") {
    const [layer, head] = String(point.item).split(".");
    return { ...where, layer, head };
  }
  const sae = section.querySelector(".features")?.dataset.sae;
  return { ...where, sae, feature: String(point.item) };
}

async function draw(panel) {
  const figure = panel.closest("figure");
  const number = [...figure.querySelectorAll(".panel")].indexOf(panel);
  try {
    const held = (await contents(figure))[number];
    panel.hidden = !isShown(held.title);
    if (panel.hidden) return;
    const kept = held.points.filter((point) => isShown(ownerOf(point.who ?? "")));
    // A chart that the choice of twins changes nothing in stays: one may hold thousands of marks.
    const whose = [...new Set(kept.map((point) => point.who))].join("\n");
    if (views.has(panel) && drawn.get(panel) === whose) return;
    views.get(panel)?.finalize();
    drawn.set(panel, whose);
    // Vega puts what it is told into the place of the panel's own name.
    const label = (panel.dataset.label ??= panel.getAttribute("aria-label"));
    const result = await vegaEmbed(panel, specOf(held, kept, label), {
      mode: "vega-lite",
      actions: false,
      ast: true,
      defaultStyle: false,
      renderer: "svg",
      tooltip: (handler, event, item, value) =>
        showTip(handler, event, item, value === item?.datum ? told(held.frame, item, value) : value),
      config: { ...config, legend: { ...config.legend, disable: true } },
    });
    views.set(panel, result.view);
    if (figure.dataset.opens) {
      result.view.addEventListener("click", (_, item) => {
        const point = item?.datum;
        if (point && ("item" in point || typeof point.x === "number")) go(lead(figure, point));
      });
    }
    figure.querySelector(".tools").hidden = false;
  } catch (error) {
    panel.textContent = `This chart could not be drawn: ${error.message}`;
    throw error;
  }
}

const panels = [...document.querySelectorAll(".panel")];
for (const panel of panels) inTurn(panel, () => draw(panel));

onTwins(() => {
  for (const panel of panels) {
    if (!views.has(panel) && !panel.hidden) continue;
    panel.hidden = false;
    inTurn(panel, () => draw(panel));
  }
});

// On paper and in files a colour is the light one.
function onPaper(svg) {
  return svg.replaceAll(/light-dark\((#\w+|white), [^)]*\)/g, "$1");
}

// The numbers of all charts of a figure: those of the twins that are shown, or of all.
async function rowsOf(figure, every) {
  return (await contents(figure)).flatMap(({ title, points }) =>
    measured(points)
      .filter((point) => every || (isShown(title) && isShown(ownerOf(point.who ?? ""))))
      .map((point) => ({ chart: title, ...point })),
  );
}

for (const figure of document.querySelectorAll("figure")) {
  const asTable = figure.querySelector("[data-show=table]");
  const show = async () => {
    figure.querySelector(".figure-table")?.remove();
    if (asTable.getAttribute("aria-expanded") !== "true") return;
    const frames = (await contents(figure)).map(({ frame }) => frame);
    figure.append(chartTable(frames, await rowsOf(figure, false)));
  };
  asTable.addEventListener("click", () => {
    asTable.setAttribute("aria-expanded", asTable.getAttribute("aria-expanded") !== "true");
    show();
  });
  onTwins(show);
  figure.querySelector("[data-save=csv]").addEventListener("click", async () => {
    const rows = await rowsOf(figure, true);
    const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const cells = rows.map((row) => columns.map((column) => row[column]));
    save(`${figure.dataset.name}.csv`, "text/csv", csv(columns, cells));
  });
  figure.querySelector("[data-save=svg]").addEventListener("click", async () => {
    for (const [number, panel] of [...figure.querySelectorAll(".panel")].entries()) {
      const view = views.get(panel);
      if (!view || panel.hidden) continue;
      const name = `${figure.dataset.name}-${number + 1}.svg`;
      save(name, "image/svg+xml", onPaper(await view.toSVG()));
    }
    const told = [".key", "figcaption"].map((part) => figure.querySelector(part)?.textContent ?? "");
    save(`${figure.dataset.name}.txt`, "text/plain", told.join("\n\n"));
  });
}
