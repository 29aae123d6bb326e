// Elements and the tip. Everything a file said reaches the document as text, never as markup.

export function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  return made;
}

export function button(text, act, className) {
  const made = element("button", text, className);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

// A text whose long names may be broken after a colon, a comma or a folder, as breakable in
// page/html.py has it.
export function named(text) {
  const made = document.createDocumentFragment();
  const parts = text.length > 17 ? text.split(/(?<=[:,\[])(?=[A-Za-z])|(?<=[A-Za-z]\/)(?=\S)/) : [text];
  parts.forEach((part, i) => made.append(...(i ? [element("wbr")] : []), part));
  return made;
}

// A number as it is read: five digits, powers of ten below a thousandth and above a million.
export function said(value) {
  if (typeof value !== "number") return value ?? "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return String(value);
  if (size < 1e-3 || size >= 1e6) return value.toExponential(3).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(5)));
}

export const tip = document.getElementById("tip");

export function showTip(handler, event, item, value) {
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

export function save(name, type, text) {
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

export function csv(columns, rows) {
  return [columns, ...rows].map((row) => row.map(csvCell).join(",")).join("\r\n");
}

// Calls back once, when an element first comes into sight or near it: those in folds and tabs wait
// until they are opened.
const waiting = new Map();
function watch(rootMargin) {
  const watched = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting || !waiting.has(target)) continue;
        watched.unobserve(target);
        const begin = waiting.get(target);
        waiting.delete(target);
        begin();
      }
    },
    { rootMargin },
  );
  return watched;
}

const near = watch("300px 0px");
const inSight = watch("0px");

export function whenSeen(target, begin) {
  waiting.set(target, begin);
  near.observe(target);
}

// What takes long, a chart of thousands of marks: only in sight, and one after the other.
let turn = Promise.resolve();
export function inTurn(target, begin) {
  const breath = () => new Promise((done) => setTimeout(done));
  waiting.set(target, () => (turn = turn.then(breath).then(begin).catch(console.error)));
  inSight.observe(target);
}

// Everything that still waits and is not folded away, at once: for paper.
export function seeAll() {
  const open = [...waiting].filter(([target]) => target.checkVisibility());
  for (const [target] of open) waiting.delete(target);
  return Promise.all(open.map(([, begin]) => begin()));
}
