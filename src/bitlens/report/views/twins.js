// Which twins the page shows: all, or those that the picker or the address names.

const box = document.getElementById("twins");
const boxes = box ? [...box.querySelectorAll("input[type=checkbox]")] : [];
export const names = boxes.map((one) => one.value);
const known = new Set(names);
let shown = new Set(names);
const listeners = [];

export function isTwin(name) {
  return known.has(name);
}

export function isShown(name) {
  return !known.has(name) || shown.has(name);
}

export function shownTwins() {
  return names.filter((name) => shown.has(name));
}

// A control is of the twin it was made for: `noise:like=[twin]`.
export function ownerOf(name) {
  return /^noise:like=\[(.*)\]$/s.exec(name)?.[1] ?? name;
}

export function onTwins(listener) {
  listeners.push(listener);
}

// An empty choice shows all: a page without twins says nothing.
export function choose(wanted) {
  const chosen = names.filter((name) => wanted.includes(name));
  const next = new Set(chosen.length ? chosen : names);
  if (next.size === shown.size && [...next].every((name) => shown.has(name))) return;
  shown = next;
  draw();
  for (const listener of listeners) listener();
}

function draw() {
  const all = shown.size === names.length;
  for (const one of boxes) one.checked = !all && shown.has(one.value);
  box.querySelector("#all-twins").setAttribute("aria-pressed", String(all));
}

// A row is about the twin that its first cell names; rows that begin with a dash go with it.
function hideRows(table) {
  let hidden = false;
  for (const row of table.tBodies[0]?.rows ?? []) {
    const first = row.cells[0]?.textContent.replace(/^\S\s(?=\S+$)/, "").trim() ?? "";
    if (!first.startsWith("– ")) hidden = !isShown(ownerOf(first));
    row.hidden = hidden;
  }
}

function hideColumns(table) {
  const heads = [...(table.tHead?.rows[0]?.cells ?? [])];
  heads.forEach((head, i) => {
    if (i === 0 || !isTwin(head.textContent)) return;
    for (const row of table.rows) if (row.cells[i]) row.cells[i].hidden = !isShown(head.textContent);
  });
}

function hideTabs(tabs) {
  const labels = [...tabs.querySelectorAll(":scope > fieldset > label")];
  for (const label of labels) label.hidden = !isShown(label.textContent.trim());
  const seen = labels.filter((label) => !label.hidden);
  if (seen.length && !seen.some((label) => label.querySelector("input").checked)) {
    seen[0].querySelector("input").click();
  }
}

onTwins(() => {
  for (const hero of document.querySelectorAll(".hero")) {
    const name = hero.querySelector(".twin .name").textContent;
    hero.hidden = !isShown(name);
  }
  for (const table of document.querySelectorAll("main table")) {
    if (table.closest(".ledger, .features, .documents")) continue;
    hideRows(table);
    hideColumns(table);
  }
  document.querySelectorAll(".tabs").forEach(hideTabs);
  for (const item of document.querySelectorAll(".legend li")) {
    const name = item.lastChild.textContent.trim();
    item.hidden = !isShown(name);
  }
});

// Called with what was ticked, so that the address can follow.
export function onPick(act) {
  box?.addEventListener("change", () => act(boxes.filter((one) => one.checked).map((o) => o.value)));
  box?.querySelector("#all-twins").addEventListener("click", () => act([]));
}
