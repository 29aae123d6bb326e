// What the page can be asked for by its address, such as `#twin=..&layer=2&head=5`. An address
// without `=` is that of a section, and the browser's own affair.

import { choose, isTwin, onPick } from "./twins.js";

const THINGS = ["layer", "head", "sae", "feature", "document", "token"];
const KEYS = ["model", "twin", ...THINGS];
const notice = document.getElementById("notice");
const answers = [];

export function asked() {
  const hash = location.hash.slice(1);
  if (!hash.includes("=")) return null;
  const pairs = new URLSearchParams(hash);
  const place = { twin: pairs.getAll("twin") };
  for (const [key, value] of pairs) {
    if (!KEYS.includes(key)) place.unknown = `${key}=${value}`;
    else if (key !== "twin") place[key] = value;
  }
  return place;
}

function written({ twin = [], ...place }) {
  const pairs = new URLSearchParams();
  if (place.model !== undefined) pairs.set("model", place.model);
  for (const name of twin) pairs.append("twin", name);
  for (const key of THINGS) if (place[key] !== undefined) pairs.set(key, place[key]);
  return pairs.toString();
}

// Goes to a place; twins that are picked stay so unless it names others. Nothing asked for: away.
export function go(place) {
  const twin = place.twin ?? asked()?.twin ?? [];
  const next = written({ ...place, twin });
  if (next) location.hash = next;
  else history.pushState(null, "", location.pathname + location.search);
  if (!next) follow();
}

// Of several models the one that a part of the page is about; of one alone none is named.
export function modelOf(part) {
  return part.closest("section[data-model]")?.dataset.model;
}

// A view answers for what it shows: (place) -> true where it has it, false where not, what there is
// to say instead, and undefined where it was not asked.
export function answer(view) {
  answers.push(view);
}

// An address that is not well written is told as it stands.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function tell(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

export async function follow() {
  const place = asked();
  if (place === null) {
    const anchor = decoded(location.hash.slice(1));
    if (anchor && !document.getElementById(anchor)) tell(`This page has no part called ${anchor}.`);
    else tell("");
    if (!anchor) choose([]);
    for (const view of answers) await view({});
    return;
  }
  const strange = place.unknown ?? place.twin.find((name) => !isTwin(name));
  choose(place.twin.filter(isTwin));
  const found = [];
  for (const view of answers) found.push(await view(place));
  const wanted = THINGS.filter((key) => place[key] !== undefined);
  const instead = found.find((one) => typeof one === "string");
  const missed = wanted.length && !found.some(Boolean);
  const what = wanted.map((key) => `${key} ${place[key]}`).join(", ");
  tell(strange ? `This page has no ${strange}.` : missed ? `This page has no ${what}.` : (instead ?? ""));
}

export function begin() {
  onPick((twin) => go({ ...asked(), unknown: undefined, twin }));
  window.addEventListener("hashchange", follow);
  // A finding leads to its section, and opens there what it is about.
  document.querySelector("main").addEventListener("click", ({ target }) => {
    const link = target.closest("a[data-section]");
    if (link) document.getElementById(link.dataset.section)?.scrollIntoView();
  });
  window.addEventListener("popstate", () => location.hash || follow());
  return follow();
}
