// What a chart shows, for who does not see it: a sentence of it, and its numbers as a table.

import { button, element, named, said } from "./elements.js";

const STEP = 100;

// What is measured, and no line that is drawn for comparison. Where nothing is of anybody, a bar is,
// and not its interval, which it holds too.
export function measured(points) {
  const whose = points.filter((point) => "who" in point);
  return whose.length ? whose : points.filter((point) => point.is !== "interval");
}

// Of each twin how many marks there are, from where to where, and their middle.
export function summary(title, points) {
  const by = new Map();
  for (const { who, way, value } of measured(points)) {
    const whose = who ?? way ?? "all";
    if (typeof value !== "number") continue;
    if (!by.has(whose)) by.set(whose, []);
    by.get(whose).push(value);
  }
  const told = [...by].map(([who, values]) => {
    values.sort((a, b) => a - b);
    const [least, middle, most] = [0, (values.length - 1) >> 1, values.length - 1].map((at) => said(values[at]));
    return values.length > 1 ? `${who}: ${values.length} marks from ${least} to ${most}, the middle one ${middle}` : `${who}: ${least}`;
  });
  return [title, ...told, "Every number stands in the table below the charts"].join(". ");
}

// The columns that a reader of the chart is told, by their titles; of a chart that tells none all.
function columnsOf(frames, rows) {
  const told = new Map();
  for (const frame of frames) {
    for (const { encoding } of frame.layer ?? []) {
      for (const { field, title } of encoding?.tooltip ?? []) if (!told.has(field)) told.set(field, title ?? field);
    }
  }
  if (!told.size) for (const row of rows) for (const field of Object.keys(row)) told.set(field, field);
  const used = [...told].filter(([field]) => field !== "chart" && rows.some((row) => field in row));
  return [["chart", "chart"], ...used];
}

export function chartTable(frames, rows) {
  const columns = columnsOf(frames, rows);
  const box = element("div", undefined, "figure-table");
  const scroll = element("div", undefined, "scroll");
  Object.assign(scroll, { tabIndex: 0, role: "region", ariaLabel: "The numbers of the charts" });
  const table = element("table");
  const head = table.createTHead().insertRow();
  const numeric = columns.map(([field]) => rows.some((row) => typeof row[field] === "number"));
  columns.forEach(([, title], i) =>
    head.append(Object.assign(element("th", title.trim(), numeric[i] ? "number" : ""), { scope: "col" })),
  );
  const body = table.createTBody();
  const more = button("Show more rows", show);
  function show() {
    const from = body.rows.length;
    for (const row of rows.slice(from, from + STEP)) {
      const line = body.insertRow();
      columns.forEach(([field], i) => {
        const cell = element(i ? "td" : "th", undefined, numeric[i] ? "number" : "");
        if (!i) cell.scope = "row";
        cell.append(typeof row[field] === "string" ? named(row[field]) : said(row[field]));
        line.append(cell);
      });
    }
    more.hidden = body.rows.length >= rows.length;
  }
  show();
  scroll.append(table);
  box.append(scroll, more);
  return box;
}
