// The features of an SAE: searched, sorted, survival at any threshold, one of them in full.

import { answer, asked, go, modelOf } from "./addresses.js";
import { Column } from "./columns.js";
import { button, element, whenSeen } from "./elements.js";
import { entry } from "./entries.js";
import { Evidence } from "./evidence.js";
import { isShown, onTwins } from "./twins.js";

const STEPS = 10_000;
const PAGE = 20;

function three(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" ? String(Number(value.toPrecision(3))) : value;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

// The columns of one twin, each read when it is first needed: there may be millions of numbers.
class FeaturesOfTwin {
  constructor(twin, active, keys, at, read) {
    Object.assign(this, { twin, active, by: {} });
    keys.forEach((key, i) => Object.defineProperty(this.by, key, { get: () => read(at[i]) }));
  }

  get rows() {
    return this.by.latent.rows;
  }
}

class Browser {
  constructor(box, held) {
    Object.assign(this, { box, titles: held.titles, keys: held.keys, names: held.names });
    const opened = new Map();
    const read = (number) => {
      if (!opened.has(number)) opened.set(number, new Column(held.columns[number]));
      return opened.get(number);
    };
    this.twins = held.twins.map(
      ({ twin, active, at }) => new FeaturesOfTwin(twin, active, held.keys, at, read),
    );
    this.line = 90;
    this.order = { key: "r", down: false };
    this.length = PAGE;
    this.current = this.twins[held.shown];
    this.part = (name) => box.querySelector(`.${name}`);
    this.listen();
    this.draw();
  }

  listen() {
    const again = () => {
      this.length = PAGE;
      this.drawTable();
    };
    this.part("which").append(
      ...this.twins.map(({ twin }) => Object.assign(element("option", twin), { value: twin })),
    );
    this.part("which").addEventListener("change", (event) => this.take(event.target.value));
    this.part("search").addEventListener("input", async (event) => {
      // A token is looked for in what the features fire on, which is read when it is first needed.
      if (/\D/.test(event.target.value)) this.texts = await this.readEvidence();
      again();
    });
    this.part("state").addEventListener("change", again);
    this.part("line").addEventListener("input", (event) => {
      this.line = Number(event.target.value);
      this.drawBars();
      again();
    });
    this.part("more").addEventListener("click", () => {
      this.length += 10 * PAGE;
      this.drawTable();
    });
    onTwins(() => this.draw());
  }

  take(twin) {
    this.current = this.twins.find((one) => one.twin === twin) ?? this.current;
    this.length = PAGE;
    this.draw();
  }

  get shown() {
    return this.twins.filter(({ twin }) => isShown(twin));
  }

  draw() {
    if (!isShown(this.current.twin)) this.current = this.shown[0] ?? this.current;
    for (const option of this.part("which").options) option.hidden = !isShown(option.value);
    this.part("which").value = this.current.twin;
    this.drawBars();
    this.drawTable();
    if (this.latent !== undefined) this.drawFeature();
  }

  drawBars() {
    const limit = this.line * (STEPS / 100);
    this.part("at").textContent = `r above ${(this.line / 100).toFixed(2)}`;
    this.part("bars").replaceChildren(
      ...this.shown.map(({ twin, active, by }) => {
        let kept = 0;
        // Where nothing is known the number stored lies below every threshold.
        for (const r of by.r.stored) if (r > limit) kept += 1;
        const line = element("li");
        const bar = element("span", undefined, "share");
        const inner = element("span");
        inner.style.width = `${(100 * kept) / active}%`;
        bar.append(inner);
        const told = `${percent(kept / active)}, ${kept.toLocaleString("en")} of ${active.toLocaleString("en")}`;
        const name = button(twin, () => this.take(twin), "link");
        name.setAttribute("aria-pressed", String(twin === this.current.twin));
        line.append(name, bar, element("span", told, "told"));
        return line;
      }),
    );
  }

  value(one, key, row) {
    const value = one.by[key].at(row);
    if (value === null) return null;
    if (key in this.names) return this.names[key][value];
    return this.isStep(key) ? value / STEPS : value;
  }

  isStep(key) {
    return ["r", "r_low", "r_high", "noise"].includes(key);
  }

  survives(row) {
    const r = this.current.by.r.at(row);
    return r !== null && r > this.line * (STEPS / 100);
  }

  chosen() {
    const { by } = this.current;
    const wanted = this.part("search").value.trim();
    const state = this.part("state").value;
    const limits = { kept: true, lost: false };
    const found = [];
    const { latent } = by;
    for (const row of this.ordered()) {
      if (wanted && !this.matches(latent.at(row), wanted)) continue;
      if (state in limits && this.survives(row) !== limits[state]) continue;
      if (state && !(state in limits) && this.value(this.current, "state", row) !== state) continue;
      found.push(row);
    }
    return found;
  }

  // All rows as the table is sorted, what is not known last; kept until another order is asked for.
  ordered() {
    const { by } = this.current;
    const { key, down } = this.order;
    if (this.sorted?.by === by && this.sorted.key === key && this.sorted.down === down) return this.sorted.rows;
    const sign = down ? -1 : 1;
    const values = Float64Array.from(by[key].stored, (_, row) => sign * (by[key].at(row) ?? sign * Infinity));
    const rows = Uint32Array.from(values, (_, row) => row).sort((a, b) => values[a] - values[b] || a - b);
    this.sorted = { by, key, down, rows };
    return rows;
  }

  // Its own table, not that of the feature which is open.
  table() {
    return this.box.querySelector(":scope > .scroll");
  }

  matches(latent, wanted) {
    if (!/\D/.test(wanted)) return String(latent).startsWith(wanted);
    return this.texts?.names(latent, wanted) ?? false;
  }

  readEvidence() {
    const { evidence } = this.box.dataset;
    if (evidence !== undefined) this.evidence ??= Evidence.of(evidence);
    return this.evidence;
  }

  drawTable() {
    const found = this.chosen();
    const seen = found.slice(0, this.length);
    this.part("count").textContent =
      `${seen.length.toLocaleString("en")} of ${found.length.toLocaleString("en")} features`;
    this.part("more").hidden = found.length <= this.length;
    const table = element("table");
    table.createTHead().append(this.heading());
    const body = table.createTBody();
    for (const row of seen) {
      const line = body.insertRow();
      const latent = this.current.by.latent.at(row);
      const link = element("a", String(latent));
      const model = modelOf(this.box);
      const place = { ...(model && { model }), sae: this.box.dataset.sae, feature: latent };
      link.href = `#${new URLSearchParams(place)}`;
      link.addEventListener("click", (event) => {
        event.preventDefault();
        this.show(latent);
      });
      const th = element("th", undefined, "number");
      th.scope = "row";
      th.append(link);
      line.append(th, element("td", this.survives(row) ? "yes" : "no", ""));
      for (const key of this.keys.slice(1)) {
        const text = key in this.names;
        line.append(element("td", three(this.value(this.current, key, row)), text ? "" : "number"));
      }
    }
    this.table().replaceChildren(table);
  }

  heading() {
    const heading = element("tr");
    this.keys.forEach((key, i) => {
      const cell = element("th", undefined, key in this.names ? "" : "number");
      cell.scope = "col";
      if (this.order.key === key) {
        cell.setAttribute("aria-sort", this.order.down ? "descending" : "ascending");
      }
      cell.append(
        button(this.titles[i], () => {
          this.order = { key, down: this.order.key === key && !this.order.down };
          this.drawTable();
          this.table().querySelector("[aria-sort] button")?.focus();
        }),
      );
      heading.append(cell);
      if (i === 0) heading.append(element("th", "survives"));
    });
    return heading;
  }

  show(latent) {
    go({ ...asked(), unknown: undefined, layer: undefined, head: undefined,
      model: modelOf(this.box), sae: this.box.dataset.sae, feature: String(latent) });
  }

  // The next or the previous in the order of the table; the first where it is not in it.
  step(by) {
    const found = this.chosen().map((row) => this.current.by.latent.at(row));
    const at = found.indexOf(this.latent);
    const next = found[at < 0 ? 0 : at + by];
    if (next !== undefined) this.show(next);
  }

  open(latent, twin) {
    if (!this.twins.some(({ rows }) => rows.has(latent))) return false;
    this.latent = latent;
    if (twin && twin !== this.current.twin) this.take(twin);
    this.drawFeature();
    this.part("feature").scrollIntoView({ block: "start" });
    return true;
  }

  drawFeature() {
    const box = this.part("feature");
    const title = element("h4", `Feature ${this.latent}, ${this.box.dataset.sae}`);
    const steps = element("p", undefined, "steps");
    steps.append(
      button("Previous", () => this.step(-1)),
      button(this.order.key === "r" && !this.order.down ? "Next worst" : "Next", () => this.step(1)),
      button("Close", () => go({ ...asked(), unknown: undefined, model: undefined, sae: undefined, feature: undefined })),
    );
    const wide = element("div", undefined, "scroll");
    wide.tabIndex = 0;
    const table = element("table");
    const head = table.createTHead().insertRow();
    for (const [i, text] of ["twin", ...this.titles.slice(1)].entries()) {
      head.append(Object.assign(element("th", text, i ? "number" : ""), { scope: "col" }));
    }
    const body = table.createTBody();
    for (const one of this.shown) {
      const row = one.rows.get(this.latent);
      const line = body.insertRow();
      line.append(Object.assign(element("th", one.twin), { scope: "row" }));
      for (const key of this.keys.slice(1)) {
        const value = row === undefined ? null : this.value(one, key, row);
        line.append(element("td", three(value), "number"));
      }
    }
    wide.append(table);
    const below = element("div");
    box.replaceChildren(title, steps, wide, below);
    box.hidden = false;
    this.drawEvidence(below);
  }

  async drawEvidence(below) {
    const [latent, one] = [this.latent, this.current];
    const held = await this.readEvidence();
    if (!held || latent !== this.latent || one !== this.current) return;
    const row = one.rows.get(latent);
    const of = (key) => (row === undefined ? null : this.value(one, key, row));
    const told = held.told(latent, one.twin, { gain: of("gain"), offset: of("offset") });
    below.replaceChildren(
      ...(told.length
        ? [element("p", `Under ${one.twin}, beside the reference`, "group"), ...told]
        : [element("p", `No contexts of it are stored under ${one.twin}.`, "caption")]),
    );
  }

  close() {
    this.latent = undefined;
    this.part("feature").hidden = true;
  }
}

const browsers = new Map();
async function open(box) {
  if (!browsers.has(box)) {
    browsers.set(box, entry(box.dataset.entry).then((held) => new Browser(box, held)));
  }
  return browsers.get(box);
}

const boxes = [...document.querySelectorAll(".features")];
for (const box of boxes) whenSeen(box, () => open(box));

answer(async ({ model, sae, feature, twin }) => {
  const ofModel = boxes.filter((box) => model === undefined || [model, undefined].includes(modelOf(box)));
  if (feature === undefined) {
    for (const browser of browsers.values()) (await browser).close();
    return sae === undefined ? undefined : ofModel.some((box) => box.dataset.sae === sae);
  }
  const box = ofModel.find((one) => sae === undefined || one.dataset.sae === sae);
  if (!box || !/^\d+$/.test(feature)) return false;
  return (await open(box)).open(Number(feature), twin?.length === 1 ? twin[0] : undefined);
});
