// Lens grids: blocks down, tokens across, and in each cell what would be said there.

import { element, said, whenSeen } from "./elements.js";
import { entry } from "./entries.js";
import { alone, shade } from "./tokens.js";
import { isShown, onTwins } from "./twins.js";

class Grid {
  constructor(box, held) {
    Object.assign(this, { box, held, twin: held.shown, at: 0 });
    this.part = (name) => box.querySelector(`.${name}`);
    this.part("which").append(
      ...held.twins.map(([name], i) => Object.assign(element("option", name), { value: i })),
    );
    this.part("which").addEventListener("change", ({ target }) => this.take(Number(target.value)));
    this.part("text-of").addEventListener("change", ({ target }) => {
      this.at = Number(target.value);
      this.draw();
    });
    onTwins(() => {
      if (isShown(held.twins[this.twin][0])) return;
      const other = held.twins.findIndex(([name]) => isShown(name));
      if (other >= 0) this.take(other);
    });
    this.take(this.twin);
  }

  take(twin) {
    this.twin = twin;
    const stretches = this.held.twins[twin][1];
    this.at = Math.min(this.at, stretches.length - 1);
    this.part("which").value = twin;
    this.part("text-of").replaceChildren(
      ...stretches.map(({ document }, i) => Object.assign(element("option", document), { value: i })),
    );
    this.part("text-of").value = this.at;
    this.draw();
  }

  draw() {
    const { tokens, blocks, reference, twin, kl } = this.held.twins[this.twin][1][this.at];
    const table = element("table", undefined, "lens-grid");
    const head = table.createTHead().insertRow();
    head.append(Object.assign(element("th", "after block"), { scope: "col" }));
    for (const token of tokens) head.append(Object.assign(this.word(token, "th"), { scope: "col" }));
    const body = table.createTBody();
    // The last block first, as a stream is drawn upwards.
    for (let row = blocks.length - 1; row >= 0; row--) {
      const line = body.insertRow();
      line.append(Object.assign(element("th", String(blocks[row])), { scope: "row" }));
      tokens.forEach((token, i) => {
        const [before, after] = [reference[row][i], twin[row][i]];
        const cell = this.word(before, "td");
        if (kl[row][i] !== null) cell.className = `kl${shade(kl[row][i])}`;
        if (before === token) cell.append(" ✓");
        if (after !== before) {
          const other = this.word(after, "span");
          other.className = "twin";
          other.prepend("≠ ");
          if (after === token) other.append(" ✓");
          cell.append(element("br"), other);
        }
        cell.title = kl[row][i] === null ? "KL: none" : `KL ${said(kl[row][i])} nats`;
        line.append(cell);
      });
    }
    this.part("scroll").replaceChildren(table);
  }

  word(number, tag) {
    const made = element(tag);
    made.append(element("span", alone(this.held.words[number]), "tokens"));
    return made;
  }
}

for (const box of document.querySelectorAll(".lens-grids")) {
  whenSeen(box, async () => new Grid(box, await entry(box.dataset.entry)));
}
