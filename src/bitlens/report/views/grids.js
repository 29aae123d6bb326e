// A pattern as a grid, query by key, a cell a share; one of each is marked.

import { element } from "./elements.js";

const UNSEEN = 0.05;

// Rows grow by one: the first token sees itself alone.
export function at(query, key) {
  return (query * (query + 1)) / 2 + key;
}

export class PatternGrid {
  constructor(title, listen) {
    this.box = element("div", undefined, "map");
    this.title = element("p", title, "strip");
    this.canvas = element("canvas");
    this.canvas.setAttribute("role", "img");
    this.marks = ["from", "to"].map((name) => element("span", undefined, `mark ${name}`));
    const plot = element("div", undefined, "plot");
    plot.append(this.canvas, ...this.marks);
    plot.addEventListener("pointermove", (event) => {
      const { left, top, width } = plot.getBoundingClientRect();
      const cell = width / this.canvas.width;
      listen(Math.floor((event.clientY - top) / cell), Math.floor((event.clientX - left) / cell));
    });
    this.box.append(this.title, plot);
  }

  // `values`: a share, or a difference, a cell; `colours`: of what is above nought, of what is
  // below, and of what cannot be seen from where it stands.
  draw(size, values, colours) {
    this.canvas.width = this.canvas.height = size;
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(size, size);
    for (let query = 0; query < size; query++) {
      for (let key = 0; key < size; key++) {
        const value = key > query ? null : values[at(query, key)];
        const colour = colours[value === null ? 2 : value < 0 ? 1 : 0];
        const alpha = value === null ? UNSEEN : Math.sqrt(Math.abs(value));
        image.data.set([...colour, Math.round(255 * alpha)], 4 * (query * size + key));
      }
    }
    context.putImageData(image, 0, 0);
  }

  mark(size, query, key) {
    const [from, to] = this.marks;
    const part = 100 / size;
    Object.assign(from.style, { top: `${query * part}%`, height: `${part}%`, width: `${(query + 1) * part}%` });
    Object.assign(to.style, { left: `${key * part}%`, width: `${part}%`, top: `${key * part}%`, height: `${(size - key) * part}%` });
  }
}
