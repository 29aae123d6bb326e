// What a feature fires on: contexts side by side, how strongly in both models, what it says.

import { element, showTip, tip } from "./elements.js";
import { sharesOf } from "./columns.js";
import { entry } from "./entries.js";
import { axes, plotBox, shape } from "./plots.js";

const STEPS = 255;
const SHADES = 8;

function three(value) {
  return value.toLocaleString("en", { maximumSignificantDigits: 3 });
}

export class Evidence {
  static async of(number) {
    return new Evidence(await entry(number));
  }

  constructor(held) {
    this.held = held;
    this.at = new Map(held.latents.map((latent, i) => [latent, i]));
    this.twins = new Map(held.twins.map((one) => [one.twin, one]));
    this.ranked = held.directions.some(Boolean);
  }

  // Whether a text stands at one of a latent's top positions, or among what its direction says.
  names(latent, text) {
    const i = this.at.get(latent);
    if (i === undefined) return false;
    const wanted = text.toLowerCase();
    const has = (token) => token.toLowerCase().includes(wanted);
    return (
      this.held.windows[i].some(([stretch, place]) => has(this.held.tokens[this.held.stretches[stretch][2][place]])) ||
      (this.held.directions[i] ?? []).flat().some(([token]) => has(token))
    );
  }

  // Everything about a latent in a twin; nothing where none was stored.
  told(latent, twin, { gain, offset }) {
    const i = this.at.get(latent);
    const of = this.twins.get(twin);
    if (i === undefined || !of) return [];
    const firing = of.firings[i];
    return [
      ...(firing ? [this.charts(firing, twin, { gain, offset })] : []),
      ...this.says(this.held.directions[i]),
      ...this.elsewhere(latent),
      ...this.contexts(i, of.contexts[i], twin),
    ];
  }

  says(ends) {
    if (!ends) return [];
    const line = element("p", "By itself its direction makes likelier: ", "says");
    ends.forEach((tokens, end) => {
      if (end) line.append("; and less likely: ");
      tokens.forEach(([token, by], i) => {
        line.append(i ? ", " : "", element("span", token, "tokens"), ` ${by > 0 ? "+" : "−"}${three(Math.abs(by))}`);
      });
    });
    line.append(". Logits, through the last norm and the unembedding; the same in the twin, whose SAE is the same.");
    return [line];
  }

  elsewhere(latent) {
    const { neuronpedia } = this.held;
    if (!/^[\w.-]+\/[\w.-]+$/.test(neuronpedia ?? "")) return [];
    const line = element("p", "What others found of it: ");
    const link = element("a", `${neuronpedia}/${latent} on Neuronpedia`);
    link.href = `https://www.neuronpedia.org/${neuronpedia}/${latent}`;
    link.rel = "noreferrer";
    line.append(link);
    return [line];
  }

  charts([top, positions, a, b, bins, twinBins], twin, { gain, offset }) {
    const box = element("div", undefined, "plots");
    const pairs = [a, b].map((letters) => sharesOf(letters));
    box.append(
      this.scatter(top, positions, pairs, twin, { gain, offset }),
      this.histogram(top, bins, twinBins, twin),
    );
    return box;
  }

  scatter(top, positions, [a, b], twin, { gain, offset }) {
    const at = (value) => 1 - value / top;
    const line = [0, top].map((x) => [x / top, at(offset + gain * x)]);
    const marks = [shape("line", { x1: 0, y1: 1, x2: 1, y2: 0, class: "intact" })];
    if (typeof gain === "number") {
      const [[x1, y1], [x2, y2]] = line;
      marks.push(shape("line", { x1, y1, x2, y2, class: "fitted" }));
    }
    a.forEach((share, i) =>
      marks.push(shape("circle", { cx: share / STEPS, cy: 1 - b[i] / STEPS, r: 0.012, class: "pair" })),
    );
    const many = positions > a.length ? `${a.length} of the ` : "";
    return plotBox(
      `Activation in the reference (across) and in ${twin} (up)`,
      `${many}${positions.toLocaleString("en")} positions at which either fires. Dashed: intact. ` +
        (typeof gain === "number" ? `Line: offset ${three(offset)}, gain ${three(gain)}, over all texts.` : ""),
      marks,
      axes(top, top, three),
    );
  }

  histogram(top, bins, twinBins, twin) {
    const most = Math.max(...bins, ...twinBins, 1);
    const width = 1 / bins.length;
    const steps = (counts) =>
      counts.map((count, i) => `${i ? "L" : "M"}${i * width} ${1 - count / most}H${(i + 1) * width}`).join("");
    return plotBox(
      "How strongly it fires",
      `Positions by activation. Filled: reference; line: ${twin}.`,
      [
        shape("path", { d: `${steps(bins)}V1H0Z`, class: "filled" }),
        shape("path", { d: steps(twinBins), class: "outline" }),
      ],
      axes(top, most, three),
    );
  }

  contexts(i, of, twin) {
    if (!of) return [];
    const top = this.held.tops[i];
    const ranked = of.toSorted((a, b) => (a[1] || 99) - (b[1] || 99) || (a[2] || 99) - (b[2] || 99));
    return [
      element("p", "Where it fires most, in the documents shown", "group"),
      ...ranked.map(([number, before, after, letters]) => {
        const [stretch, place, peak, own] = this.held.windows[i][number];
        const [document, first, tokens] = this.held.stretches[stretch];
        const words = Array.from(own, (_, k) => this.held.tokens[tokens[place - peak + k]]);
        const reference = sharesOf(own);
        const sides = [reference, sharesOf(letters, reference)].map((shares) =>
          Array.from(shares, (share) => (share / STEPS) * top),
        );
        const where = `${document}, token ${first + place}`;
        return this.excerpt({ where, peak, words, sides, top, twin, ranks: [before, after] });
      }),
    ];
  }

  excerpt({ where, peak, words, sides, top, twin, ranks }) {
    const box = element("div", undefined, "excerpt");
    const head = element("p", where, "where");
    head.append(" · ", element("strong", this.change(ranks, sides.map((side) => side[peak]))));
    box.append(head);
    sides.forEach((activations, side) => {
      const line = element("p");
      const who = side ? twin : "reference";
      line.append(element("span", `${who}: ${three(activations[peak])} at the underlined token`, "whose"));
      words.forEach((word, i) => {
        const step = top > 0 ? Math.ceil((SHADES * activations[i]) / top) : 0;
        const token = element("span", word, step ? `tokens heat${step}` : "tokens");
        if (i === peak) token.classList.add("peak");
        token.addEventListener("pointerenter", (event) =>
          showTip(null, event, null, { token: word, reference: three(sides[0][i]), [twin]: three(sides[1][i]) }),
        );
        token.addEventListener("pointerleave", () => (tip.hidden = true));
        line.append(token);
      });
      box.append(line);
    });
    return box;
  }

  // Among all positions of the texts; ten of each model are ranked.
  change([before, after], [reference, twin]) {
    if (!(twin > 0)) return `rank ${before} in the reference; silent in the twin`;
    if (!(reference > 0)) return `rank ${after} in the twin; silent in the reference`;
    // Older stores have the ranks of the three that are shown, in the model that they are of.
    if (!this.ranked && !(before && after)) return before ? `rank ${before} in the reference` : `rank ${after} in the twin`;
    if (!before) return `▲ below the ten strongest in the reference, rank ${after} in the twin`;
    if (!after) return `▼ rank ${before} in the reference, below the ten strongest in the twin`;
    const by = before - after;
    const sign = by > 0 ? `▲${by} ` : by < 0 ? `▼${-by} ` : "= ";
    return `${sign}rank ${before} in the reference, ${after} in the twin`;
  }
}
