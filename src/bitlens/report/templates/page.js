// What moves on the page. Everything a file said reaches the document as text, never as markup.

const config = JSON.parse(document.getElementById("config").textContent);
const tip = document.getElementById("tip");
const views = new Map();

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function showTip(handler, event, item, value) {
  tip.hidden = value === null || value === undefined || value === "";
  if (tip.hidden) return;
  const entries = typeof value === "object" ? Object.entries(value) : [["", value]];
  tip.replaceChildren(
    ...entries.map(([name, content]) => {
      const line = element("div");
      line.append(element("span", name, "name"), element("span", String(content)));
      return line;
    }),
  );
  const right = window.innerWidth - tip.offsetWidth - 8;
  const below = event.clientY + 16;
  const bottom = window.innerHeight - tip.offsetHeight - 8;
  tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, right))}px`;
  tip.style.top = `${below > bottom ? event.clientY - tip.offsetHeight - 12 : below}px`;
}

// Tables come with each text once and its number in the rows.
function unpack({ texts, textual, rows }) {
  const text = (cell, i) => (textual[i] && cell !== null ? texts[cell] : cell);
  return rows.map((row) => row.map(text));
}

// What a figure holds is read when its first chart is drawn.
const figures = new Map();
function contents(figure) {
  if (!figures.has(figure)) {
    const held = JSON.parse(figure.querySelector("script").textContent);
    const panels = held.panels.map(([frame, title]) => ({
      ...held.frames[frame],
      title,
      data: { values: [] },
    }));
    for (const [panel, ...cells] of unpack(held)) {
      const entries = cells.map((cell, i) => [held.fields[i + 1], cell]);
      panels[panel].data.values.push(Object.fromEntries(entries.filter(([, cell]) => cell !== null)));
    }
    figures.set(figure, panels);
  }
  return figures.get(figure);
}

// A chart is drawn when it is first seen: those in folds and tabs wait until they are opened.
async function draw(panel) {
  const hidden = panel.clientWidth === 0 || panel.closest("details:not([open])");
  if (views.has(panel) || hidden) return;
  views.set(panel, null);
  const figure = panel.closest("figure");
  const number = [...figure.querySelectorAll(".panel")].indexOf(panel);
  try {
    const spec = { ...contents(figure)[number], width: "container" };
    const result = await vegaEmbed(panel, spec, {
      mode: "vega-lite",
      actions: false,
      ast: true,
      defaultStyle: false,
      renderer: "svg",
      tooltip: showTip,
      config: { ...config, legend: { disable: true } },
    });
    views.set(panel, result.view);
    figure.querySelector(".tools").hidden = false;
  } catch (error) {
    panel.textContent = `This chart could not be drawn: ${error.message}`;
    throw error;
  }
}

function drawVisible() {
  return Promise.all([...document.querySelectorAll(".panel")].map(draw));
}

function save(name, type, text) {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// A text that begins like a formula would be run by a spreadsheet; an apostrophe prevents it.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return `"${safe.replaceAll('"', '""')}"`;
}

function csv(columns, rows) {
  return [columns, ...rows].map((row) => row.map(csvCell).join(",")).join("\r\n");
}

for (const figure of document.querySelectorAll("figure")) {
  const panels = [...figure.querySelectorAll(".panel")];
  figure.querySelector("[data-save=csv]").addEventListener("click", () => {
    const rows = contents(figure).flatMap(({ title, data }) =>
      data.values.filter((point) => "who" in point).map((point) => ({ chart: title, ...point })),
    );
    const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    save(
      `${figure.dataset.name}.csv`,
      "text/csv",
      csv(columns, rows.map((row) => columns.map((column) => row[column]))),
    );
  });
  figure.querySelector("[data-save=svg]").addEventListener("click", async () => {
    for (const [number, panel] of panels.entries()) {
      const view = views.get(panel);
      if (view) save(`${figure.dataset.name}-${number + 1}.svg`, "image/svg+xml", await view.toSVG());
    }
  });
}

for (const tabs of document.querySelectorAll(".tabs")) {
  const panels = [...tabs.children].filter((child) => child.classList.contains("tab"));
  tabs.querySelector("fieldset").addEventListener("change", (event) => {
    panels.forEach((panel, number) => (panel.hidden = number !== Number(event.target.value)));
    drawVisible();
  });
}

for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", drawVisible);
}

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const text = button.previousElementSibling;
    getSelection().selectAllChildren(text);
    await navigator.clipboard?.writeText(text.textContent).catch(() => {});
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}

for (const ledger of document.querySelectorAll(".ledger")) {
  const held = JSON.parse(ledger.querySelector("script").textContent);
  const { fields, numeric } = held;
  const table = unpack(held);
  const needles = table.map((row) => row.join(" ").toLowerCase());
  const [filter, head, body, count, more] = ["input", "thead", "tbody", ".count", ".more"].map((s) =>
    ledger.querySelector(s),
  );
  const order = { column: null, down: false };
  let shown = 50;

  function chosen() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = table.filter((_, i) => words.every((word) => needles[i].includes(word)));
    const { column, down } = order;
    if (column === null) return found;
    const rank = (a, b) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const sign = numeric[column] ? a - b : a.localeCompare(b, "en", { numeric: true });
      return down ? -sign : sign;
    };
    return found.sort((a, b) => rank(a[column], b[column]));
  }

  function show() {
    const found = chosen();
    body.replaceChildren(
      ...found.slice(0, shown).map((row) => {
        const line = element("tr");
        line.append(
          ...row.map((cell, i) => element("td", cell ?? "–", numeric[i] ? "number" : "")),
        );
        return line;
      }),
    );
    const seen = Math.min(shown, found.length);
    count.textContent = `${seen.toLocaleString("en")} of ${found.length.toLocaleString("en")} rows`;
    more.hidden = found.length <= shown;
  }

  const heading = element("tr");
  fields.forEach((title, column) => {
    const cell = element("th", undefined, numeric[column] ? "number" : "");
    const button = element("button", title);
    button.type = "button";
    button.addEventListener("click", () => {
      order.down = order.column === column && !order.down;
      order.column = column;
      for (const other of heading.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      show();
    });
    cell.scope = "col";
    cell.append(button);
    heading.append(cell);
  });
  head.append(heading);
  filter.addEventListener("input", () => {
    shown = 50;
    show();
  });
  more.addEventListener("click", () => {
    shown += 200;
    show();
  });
  ledger.querySelector(".save").addEventListener("click", (event) => {
    save(`${event.target.dataset.name}.csv`, "text/csv", csv(fields, chosen()));
  });
  show();
}

// A feature's contexts are made when it is chosen: there are many, and few are looked at.
const STEPS = 8;

function excerpt([found, where, peak, tokens, reference, twin], texts, top) {
  const box = element("div", undefined, "excerpt");
  box.append(element("span", where, "where"));
  for (const [whose, activations] of [["reference", reference], ["twin", twin]]) {
    const line = element("p");
    const shown = activations[peak].toLocaleString("en", { maximumSignificantDigits: 3 });
    line.append(element("span", `${whose}: ${shown} at the underlined token`, "whose"));
    tokens.forEach((number, i) => {
      const step = top > 0 ? Math.ceil((STEPS * Math.max(0, activations[i])) / top) : 0;
      const token = element("span", texts[number], step ? `tokens heat${step}` : "tokens");
      if (i === peak) token.classList.add("peak");
      token.addEventListener("pointerenter", (event) =>
        showTip(null, event, null, { token: texts[number], reference: reference[i], twin: twin[i] }),
      );
      token.addEventListener("pointerleave", () => (tip.hidden = true));
      line.append(token);
    });
    box.append(line);
  }
  return box;
}

for (const contexts of document.querySelectorAll(".contexts")) {
  const { features, texts } = JSON.parse(contexts.querySelector("script").textContent);
  const select = contexts.querySelector("select");
  select.append(
    ...features.map(({ title }, number) => {
      const option = element("option", title);
      option.value = number;
      return option;
    }),
  );
  contexts.querySelector(".count").textContent = `${features.length} shown`;
  const show = () => {
    const { facts, excerpts } = features[Number(select.value)];
    contexts.querySelector(".facts").textContent = facts;
    const top = Math.max(0, ...excerpts.flatMap(([, , , , a, b]) => [...a, ...b]));
    const groups = ["reference", "twin"].flatMap((who) => {
      const mine = excerpts.filter(([found]) => found === who);
      const title = element("p", `Where the ${who} fires most, in the documents shown`, "group");
      return mine.length ? [title, ...mine.map((one) => excerpt(one, texts, top))] : [];
    });
    contexts.querySelector(".excerpts").replaceChildren(...groups);
  };
  select.addEventListener("change", show);
  show();
}

drawVisible().finally(() => (document.documentElement.dataset.ready = "yes"));
