// Where a head looks: its pattern in the reference and in a twin, and the difference, on one text.
// What is pointed at in one of them is marked in all.

import { sharesOf } from "./columns.js";
import { button, element, whenSeen } from "./elements.js";
import { entry } from "./entries.js";
import { at, PatternGrid } from "./grids.js";
import { onScheme } from "./scheme.js";
import { isShown, onTwins } from "./twins.js";

const STEPS = 255;

function rgb(color) {
  return color.match(/[\d.]+/g).slice(0, 3).map(Number);
}

class Held {
  constructor({ tokens, texts, reference, twins, shown }) {
    this.first = twins[shown].twin;
    this.texts = texts.map(([where, numbers]) => ({ where, tokens: numbers.map((n) => tokens[n]) }));
    this.reference = new Map(reference.map(([name, letters]) => [name, letters]));
    this.twins = twins.map(({ twin, heads }) => ({ twin, heads: new Map(heads) }));
  }

  of(twin) {
    return this.twins.find((one) => one.twin === twin);
  }

  pair(twin, head, text) {
    const reference = sharesOf(this.reference.get(head)[text]);
    return { reference, twin: sharesOf(this.of(twin).heads.get(head)[text], reference) };
  }
}

function labelled(text, control) {
  const label = element("label", text);
  label.append(control);
  return label;
}

function options(select, pairs) {
  select.replaceChildren(
    ...pairs.map(([value, text]) => Object.assign(element("option", text), { value })),
  );
}

export class PatternView {
  constructor(held, { head, twin, free }) {
    Object.assign(this, { held, free, text: 0 });
    this.box = element("div", undefined, "pattern-view");
    this.which = element("select");
    this.heads = element("select");
    this.texts = element("select");
    options(this.texts, held.texts.map(({ where }, number) => [number, where]));
    this.texts.value = this.text;
    const controls = element("p", undefined, "controls");
    controls.append(labelled("Twin", this.which));
    if (free) controls.append(labelled("Head", this.heads));
    controls.append(labelled("Text", this.texts));
    this.numbers = element("a", "its numbers");
    if (free) controls.append(button("Next, by how far it moved", () => this.step()), this.numbers);
    this.told = element("p", undefined, "told");
    this.told.setAttribute("role", "status");
    const listen = (query, key) => this.point(query, key);
    this.maps = ["Reference", "", "Difference"].map((title) => new PatternGrid(title, listen));
    const maps = element("div", undefined, "maps");
    maps.append(...this.maps.map(({ box }) => box));
    this.sliders = ["from", "to"].map((name) => {
      const slider = Object.assign(element("input"), { type: "range", min: 0, className: name });
      slider.addEventListener("input", () => this.point(...this.sliders.map((one) => Number(one.value))));
      return slider;
    });
    const sliders = element("p", undefined, "controls");
    sliders.append(labelled("From token", this.sliders[0]), labelled("to token", this.sliders[1]));
    this.lines = element("div", undefined, "lines");
    this.box.append(controls, maps, this.told, sliders, this.lines, this.key());
    this.which.addEventListener("change", () => this.take({ twin: this.which.value }));
    this.heads.addEventListener("change", () => this.take({ head: this.heads.value }));
    this.texts.addEventListener("change", () => this.take({ text: Number(this.texts.value) }));
    this.take({ twin, head });
  }

  key() {
    const key = element("p", undefined, "key");
    this.signs = ["more", "less"].map((name) => element("span", "■", `pays-${name}`));
    key.append(
      "Down: the token that looks; across: the token it looks at. The stronger the colour the more, on " +
        "one scale for all three; full colour is all of a token's attention. Difference: ", this.signs[0],
      " more in the twin, ", this.signs[1], " less. Shares are stored in steps of 1/255.",
    );
    return key;
  }

  // Those of its twin, the one that moved most first.
  get order() {
    return [...this.held.of(this.twin).heads.keys()];
  }

  take({ twin = this.twin, head = this.head, text = this.text }) {
    const shown = this.held.twins.filter((one) => isShown(one.twin));
    const has = (one) => this.free || one.heads.has(head);
    const known = (shown.some(has) ? shown : this.held.twins).filter(has);
    this.twin = (known.find((one) => one.twin === twin) ?? known[0]).twin;
    options(this.which, known.map((one) => [one.twin, one.twin]));
    this.which.value = this.twin;
    options(this.heads, this.order.map((name) => [name, `head ${name}`]));
    this.head = this.order.includes(head) ? head : this.order[0];
    this.heads.value = this.head;
    const [layer, number] = this.head.split(".");
    this.numbers.href = `#${new URLSearchParams({ twin: this.twin, layer, head: number })}`;
    if (text !== this.text) this.query = undefined;
    this.text = text;
    this.draw();
  }

  step() {
    const next = this.order[(this.order.indexOf(this.head) + 1) % this.order.length];
    this.take({ head: next });
  }

  // Its colours are those of where it stands: elsewhere there is nothing to draw.
  draw() {
    if (!this.box.isConnected) return;
    const { tokens } = this.held.texts[this.text];
    this.pair = this.held.pair(this.twin, this.head, this.text);
    const { reference, twin } = this.pair;
    const ink = rgb(getComputedStyle(this.told).color);
    const signed = this.signs.map((sign) => rgb(getComputedStyle(sign).color));
    const size = tokens.length;
    const shares = [reference, twin].map((of) => Array.from(of, (share) => share / STEPS));
    this.difference = shares[1].map((share, i) => share - shares[0][i]);
    this.maps.slice(0, 2).forEach((map, i) => map.draw(size, shares[i], [ink, ink, ink]));
    this.maps[2].draw(size, this.difference, [...signed, ink]);
    this.maps[1].title.textContent = this.twin;
    for (const { canvas, title } of this.maps) {
      canvas.setAttribute("aria-label", `Head ${this.head}, ${title.textContent}`);
    }
    for (const slider of this.sliders) slider.max = size - 1;
    this.writeLines(tokens);
    const last = size - 1;
    this.point(this.query ?? last, this.query === undefined ? this.strongest(last) : this.to);
  }

  strongest(query) {
    const row = this.pair.reference.subarray(at(query, 0), at(query, query) + 1);
    return row.indexOf(Math.max(...row));
  }

  writeLines(tokens) {
    this.spans = [];
    this.lines.replaceChildren(
      ...["reference", this.twin].map((who) => {
        const line = element("p");
        line.append(element("span", who, "whose"));
        const spans = tokens.map((token, query) => {
          const span = element("span", token, "tokens");
          span.addEventListener("pointerenter", () => this.point(query, this.strongest(query)));
          return span;
        });
        line.append(...spans);
        this.spans.push(spans);
        return line;
      }),
    );
  }

  // Marks a token that looks and one that is looked at, everywhere.
  point(query, key) {
    const { tokens } = this.held.texts[this.text];
    if (!(query >= 0 && query < tokens.length && key >= 0)) return;
    [this.query, this.to] = [query, Math.min(key, query)];
    [this.sliders[0].value, this.sliders[1].value] = [this.query, this.to];
    for (const map of this.maps) map.mark(tokens.length, this.query, this.to);
    [this.pair.reference, this.pair.twin].forEach((shares, i) => {
      this.spans[i].forEach((span, token) => {
        const share = token > query ? 0 : shares[at(query, token)] / STEPS;
        span.style.background = share
          ? `color-mix(in srgb, var(--ink) ${Math.round(45 * Math.sqrt(share))}%, transparent)`
          : "";
        span.classList.toggle("from", token === this.query);
        span.classList.toggle("to", token === this.to);
      });
    });
    const place = at(this.query, this.to);
    const [a, b] = [this.pair.reference[place], this.pair.twin[place]].map((n) => (n / STEPS).toFixed(3));
    const change = this.difference[place];
    this.told.textContent =
      `Head ${this.head}, from “${tokens[this.query]}” (token ${this.query}) to ` +
      `“${tokens[this.to]}” (token ${this.to}): reference ${a}, ${this.twin} ${b}, ` +
      `difference ${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(3)}`;
  }
}

const holders = [...document.querySelectorAll(".patterns")];
const opened = new Map();
const views = new Set();

function open(holder) {
  if (!opened.has(holder)) {
    opened.set(holder, entry(holder.dataset.entry).then((held) => new Held(held)));
  }
  return opened.get(holder);
}

function shownBy(view) {
  views.add(new WeakRef(view));
  return view;
}

function again(act) {
  for (const held of views) {
    const view = held.deref();
    if (view?.box.isConnected) act(view);
    else views.delete(held);
  }
}

// A head's patterns by its address; nothing where none are stored.
export async function patternsOf({ model, layer, head, twin = [] }) {
  const holder = holders.find((one) => model === undefined || one.dataset.model === model);
  if (!holder) return undefined;
  const held = await open(holder);
  const name = `${layer}.${head}`;
  const has = held.twins.map((one) => one.heads.has(name) && one.twin).filter(Boolean);
  if (!has.length) return undefined;
  const first = twin.find((one) => has.includes(one)) ?? [held.first, has[0]].find((one) => has.includes(one));
  return shownBy(new PatternView(held, { head: name, twin: first, free: false }));
}

for (const holder of holders) {
  whenSeen(holder, async () => {
    const held = await open(holder);
    const view = new PatternView(held, { twin: held.first, free: true });
    holder.prepend(shownBy(view).box);
    view.draw();
  });
}

onTwins(() => again((view) => view.take({})));
onScheme(() => again((view) => view.draw()));
