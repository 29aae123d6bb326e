// Documents to read: which suffer, and at every token what both models expected there.

import { answer, asked, go } from "./addresses.js";
import { button, element, named, said, whenSeen } from "./elements.js";
import { entry } from "./entries.js";
import { EDGES, alone, inText, shade } from "./tokens.js";
import { isShown, onTwins } from "./twins.js";

const KINDS = {
  worst: "farthest from the reference",
  median: "in the middle",
  random: "drawn at random",
};
const FIRST = 5;

function percent(thousandths) {
  return thousandths > 0 ? `${(thousandths / 10).toFixed(1)} %` : "under 0.1 %";
}

// Numbers come as letters: see letters in page/documents.py.
function numbers(letters) {
  return [...letters].map((letter) => {
    const code = letter.codePointAt(0) - 48;
    return code % 2 ? -(code + 1) / 2 : code / 2;
  });
}

// What a twin's numbers are, which come as what they are more than the reference's.
function reading(held, twin) {
  const own = held.twins[twin];
  const empty = (at) => own.kl[at] === null;
  const inRows = (letters) => {
    const values = numbers(letters);
    let from = 0;
    return own.kl.map((_, at) => (empty(at) ? [] : values.slice(from, (from += held.five))));
  };
  const first = inRows(held.first);
  const shares = inRows(held.shares);
  const number = (place, at) => (place < 0 ? -1 - place : first[at][place]);
  return {
    words: held.words,
    tokens: numbers(held.tokens),
    offsets: held.offsets.flatMap(([from, count]) => Array.from({ length: count }, (_, i) => from + i)),
    uncounted: new Set(held.uncounted),
    kl: own.kl,
    reference: { first, shares, others: new Map(held.others) },
    twin: {
      first: inRows(own.first).map((places, at) => places.map((place) => number(place, at))),
      shares: inRows(own.more).map((row, at) => row.map((more, i) => shares[at][i] + more)),
      others: new Map(own.others),
    },
  };
}

class Reader {
  constructor(box, held) {
    Object.assign(this, { box, total: held.total, kind: "worst" });
    this.names = new Map(held.documents.map(([number, name, at]) => [number, { name, at }]));
    this.twins = held.twins.map(([twin, rows]) => ({
      twin,
      rows: rows.map(([number, kinds, rank, kl, positions, changed]) => (
        { number, kinds, rank, kl, positions, changed }
      )),
    }));
    this.current = this.twins[held.shown];
    this.part = (name) => box.querySelector(`.${name}`);
    this.listen();
    this.drawList();
  }

  listen() {
    this.part("which").append(
      ...this.twins.map(({ twin }) => Object.assign(element("option", twin), { value: twin })),
    );
    this.part("kind").append(
      ...Object.entries(KINDS).map(([kind, told]) =>
        Object.assign(element("option", told), { value: kind }),
      ),
    );
    this.part("which").addEventListener("change", ({ target }) => {
      // Where the address names a twin, it is this one from now on.
      this.take(target.value);
      if (asked() !== null) this.show(this.row(this.open)?.number ?? this.current.rows[0].number);
    });
    this.part("kind").addEventListener("change", ({ target }) => {
      this.kind = target.value;
      this.drawList();
    });
    onTwins(() => {
      if (!isShown(this.current.twin)) {
        const shown = this.twins.find(({ twin }) => isShown(twin));
        if (shown) this.take(shown.twin);
      }
      this.drawList();
    });
  }

  row(number) {
    return this.current.rows.find((one) => one.number === number);
  }

  // Another twin; the document stays open where that twin shows it too.
  take(twin) {
    this.current = this.twins.find((one) => one.twin === twin) ?? this.current;
    this.drawList();
    if (this.open === undefined) return;
    if (this.row(this.open)) this.read(this.open, this.token);
    else this.read(this.current.rows[0].number);
  }

  drawList() {
    this.part("which").value = this.current.twin;
    const found = this.current.rows.filter(({ kinds }) => kinds.includes(this.kind));
    this.part("count").textContent = `${found.length} of ${this.total.toLocaleString("en")} documents`;
    const table = element("table");
    const head = table.createTHead().insertRow();
    for (const text of ["document", "rank", "mean KL, nats", "other token first"]) {
      const numeric = text !== "document";
      head.append(Object.assign(element("th", text, numeric ? "number" : ""), { scope: "col" }));
    }
    const body = table.createTBody();
    for (const { number, rank, kl, positions, changed } of found) {
      const line = body.insertRow();
      const link = element("a");
      link.append(named(this.names.get(number).name));
      link.href = `#${new URLSearchParams({ twin: this.current.twin, document: number })}`;
      if (number === this.open) link.setAttribute("aria-current", "true");
      link.addEventListener("click", (event) => {
        event.preventDefault();
        this.show(number);
      });
      const th = Object.assign(element("th"), { scope: "row" });
      th.append(link);
      const share = `${((100 * changed) / positions).toFixed(1)} % of ${positions}`;
      line.append(th, ...[rank, said(kl), share].map((text) => element("td", String(text), "number")));
    }
    this.part("list").replaceChildren(table);
  }

  // The address of a document of this twin, and maybe of a token in it.
  show(number, token) {
    const model = boxes.length > 1 ? this.box.dataset.model : asked()?.model;
    const address = { model, twin: [this.current.twin], document: String(number) };
    go(token === undefined ? address : { ...address, token: String(token) });
  }

  // Opens a document of this twin, and maybe points at a token; false where it has none such.
  async read(number, token) {
    const { twin } = this.current;
    const row = this.row(number);
    if (!row) return false;
    const same = this.open === number && this.text.under === twin;
    const text = same ? this.text : { ...reading(await entry(this.names.get(number).at), twin), under: twin };
    const at = token === undefined ? -1 : text.offsets.indexOf(token);
    if (token !== undefined && at < 0) return false;
    Object.assign(this, { open: number, token, text });
    // What is open stays, and with it what has the keyboard.
    if (!same) this.drawSheet(row);
    if (!same) this.drawList();
    if (at >= 0) this.point(at);
    return true;
  }

  drawSheet(row) {
    const sheet = this.part("sheet");
    const about = element("p", undefined, "facts");
    about.textContent =
      `Under ${this.current.twin}: mean KL ${said(row.kl)} nats over ${row.positions} positions, ` +
      `rank ${row.rank} of ${this.total}; another token comes first at ${row.changed} of them.`;
    const steps = element("p", undefined, "steps");
    steps.append(
      button("Previous underlined", () => this.step(-1)),
      button("Next underlined", () => this.step(1)),
    );
    const card = element("div", undefined, "card");
    card.setAttribute("aria-live", "polite");
    card.append(element("p", "Point at a token, or press the right arrow key in the text.", "facts"));
    const columns = element("div", undefined, "sheet-columns");
    columns.append(this.drawText(), card);
    sheet.replaceChildren(
      element("h4", this.names.get(row.number).name), about, this.legend(), steps, columns,
    );
    sheet.hidden = false;
  }

  legend() {
    const list = element("ul", undefined, "legend shades");
    list.append(element("li", "KL in nats:"));
    const ends = ["under 0.01", ...EDGES.map((edge, i) => (
      i + 1 < EDGES.length ? `${edge} to ${EDGES[i + 1]}` : `${edge} and more`
    ))];
    ends.forEach((text, step) => {
      const item = element("li");
      item.append(element("span", "ab", `kl kl${step}`), element("span", ` ${text}`));
      list.append(item);
    });
    const item = element("li");
    item.append(element("span", "token", "tokens changed"), " another token first");
    list.append(item);
    return list;
  }

  drawText() {
    const { words, tokens, kl, uncounted } = this.text;
    const box = element("p", undefined, "text");
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", "Text: the arrow keys right and left go to the next and the " +
      "previous underlined token, with Shift to the neighbouring one");
    this.spans = tokens.map((number, at) => {
      const span = element("span", inText(words[number]), "tokens");
      if (kl[at] === null) return span;
      span.classList.add("kl", `kl${shade(kl[at])}`);
      if (this.isChanged(at)) span.classList.add("changed");
      if (uncounted.has(at)) span.classList.add("uncounted");
      return span;
    });
    box.append(...this.spans);
    const under = ({ target }) => this.spans.indexOf(target);
    box.addEventListener("pointerover", (event) => under(event) >= 0 && this.tell(under(event)));
    box.addEventListener("pointerleave", () => this.at >= 0 && this.tell(this.at));
    box.addEventListener("click", (event) => {
      if (under(event) >= 0) this.show(this.open, this.text.offsets[under(event)]);
    });
    box.addEventListener("keydown", (event) => {
      const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!way) return;
      event.preventDefault();
      this.step(way, event.shiftKey);
    });
    this.at = -1;
    return box;
  }

  isChanged(at) {
    const { reference, twin, uncounted } = this.text;
    return !uncounted.has(at) && reference.first[at][0] !== twin.first[at][0];
  }

  // The next or previous token where another one comes first, or the neighbour.
  step(way, any = false) {
    let at = this.at < 0 && way < 0 ? this.spans.length : this.at;
    do at += way;
    while (at >= 0 && at < this.spans.length && !any && !this.isChanged(at));
    if (at >= 0 && at < this.spans.length) this.show(this.open, this.text.offsets[at]);
  }

  // A token is the one that the address names.
  point(at) {
    this.spans[this.at]?.removeAttribute("aria-current");
    this.at = at;
    this.spans[at].setAttribute("aria-current", "true");
    this.tell(at);
  }

  // What both models expected at a token.
  tell(at) {
    const { words, tokens, kl, uncounted } = this.text;
    const card = this.part("card");
    const title = element("p", undefined, "group");
    title.append("Expected where the text has ", element("span", alone(words[tokens[at]]), "tokens"));
    if (kl[at] === null) {
      card.replaceChildren(title, element("p", "Nothing stands before it that could predict it.", "facts"));
      return;
    }
    const told = element("p", `KL ${said(kl[at])} nats.`, "facts");
    if (this.isChanged(at)) told.append(" Another token comes first in the twin.");
    if (uncounted.has(at)) told.append(" It does not count in the mean.");
    card.replaceChildren(title, told, this.expected(at));
  }

  expected(at) {
    const { words, tokens, reference, twin } = this.text;
    const sides = [reference, twin].map(({ first, shares }) => (
      { places: first[at], shares: shares[at], least: shares[at][FIRST - 1] }
    ));
    const numbers = [...new Set(sides.flatMap(({ places }) => places))];
    const rows = numbers.map((number) => ({
      word: words[number],
      is: words[number] === words[tokens[at]],
      ranks: sides.map(({ places }) => places.indexOf(number)),
    }));
    if (!rows.some(({ is }) => is)) rows.push({ word: words[tokens[at]], is: true, ranks: [-1, -1] });
    const table = element("table");
    const head = table.createTHead().insertRow();
    for (const text of ["token", "reference", "twin", "difference"]) {
      head.append(Object.assign(element("th", text, text === "token" ? "" : "number"), { scope: "col" }));
    }
    const body = table.createTBody();
    for (const { word, is, ranks } of rows) {
      const known = ranks.map((rank, side) => {
        if (rank >= 0) return sides[side].shares[rank];
        return is ? ([reference, twin][side].others.get(at) ?? 0) : null;
      });
      const line = body.insertRow();
      const th = Object.assign(element("th"), { scope: "row" });
      th.append(element("span", alone(word), "tokens"), is ? " ✓" : "");
      line.append(th, ...known.map((share, side) => this.share(share, ranks[side], sides[side].least)));
      const more = known.includes(null) ? "–" : (known[1] - known[0]) / 10;
      const signed = typeof more === "number" ? `${more > 0 ? "+" : more < 0 ? "−" : ""}${Math.abs(more).toFixed(1)}` : more;
      line.append(element("td", signed, "number"));
    }
    const wide = element("div", undefined, "scroll");
    wide.append(table, element("p", "In brackets the rank; ✓: the text's own token; difference in points.", "facts"));
    return wide;
  }

  share(share, rank, least) {
    if (share === null) return element("td", `under ${percent(Math.max(1, least)).replace("under ", "")}`, "number below");
    const cell = element("td", percent(share), `number${rank === 0 ? " top" : ""}`);
    if (rank >= 0) cell.append(element("span", ` (${rank + 1})`, "interval"));
    return cell;
  }
}

const readers = new Map();
async function open(box) {
  if (!readers.has(box)) {
    readers.set(box, entry(box.dataset.entry).then((held) => new Reader(box, held)));
  }
  return readers.get(box);
}

const boxes = [...document.querySelectorAll(".documents")];
for (const box of boxes) {
  whenSeen(box, async () => {
    const reader = await open(box);
    if (reader.open === undefined) await reader.read(reader.current.rows[0].number);
  });
}

const whole = (text) => (/^\d+$/.test(text) ? Number(text) : NaN);
answer(async ({ document: number, token, twin, model }) => {
  if (number === undefined) return token === undefined ? undefined : false;
  const box = boxes.find((one) => model === undefined || one.dataset.model === model);
  if (!box) return false;
  const reader = await open(box);
  const has = (one) => one.rows.some((row) => row.number === whole(number));
  const named = reader.twins.filter((one) => !twin?.length || twin.includes(one.twin));
  const found = has(reader.current) && named.includes(reader.current) ? reader.current : named.find(has);
  if (!found && reader.names.has(whole(number))) {
    return `Document ${number} is not shown of ${named.map((one) => one.twin).join(", ")}.`;
  }
  if (!found) return false;
  const same = reader.open === whole(number) && reader.text?.under === found.twin;
  const at = token === undefined ? undefined : whole(token);
  if (same && at === reader.token) {
    // It may be open and out of sight.
    reader.part("sheet").scrollIntoView({ block: "nearest" });
    return true;
  }
  reader.current = found;
  if (!(await reader.read(whole(number), at))) return false;
  if (!same) reader.part("sheet").scrollIntoView({ block: "start" });
  else if (reader.at >= 0) reader.spans[reader.at].scrollIntoView({ block: "nearest" });
  return true;
});
