// Small plots of one thing, drawn by hand: a unit square, its marks, and the ends of its axes.

import { element } from "./elements.js";

const SVG = "http://www.w3.org/2000/svg";

export function shape(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// The ends of both axes: nought, and the most across and up.
export function axes(across, up, said) {
  return { across: said(across), up: said(up) };
}

export function plotBox(title, told, marks, { across, up }) {
  const box = element("div", undefined, "plot-box");
  const svg = shape("svg", { viewBox: "-0.02 -0.02 1.04 1.04", role: "img", "aria-label": `${title}. ${told}` });
  svg.append(shape("path", { d: "M0 0V1H1", class: "frame" }), ...marks);
  const ends = element("p", undefined, "ends");
  ends.append(element("span", "0"), element("span", across));
  box.append(element("p", title, "strip"), element("span", up, "up"), svg, ends, element("p", told, "caption"));
  return box;
}
