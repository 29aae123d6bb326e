// Columns of numbers, which come as bytes: all first bytes, then all second ones.

import { bytesOf } from "./entries.js";

const MISSING = -32768;
const FIRST = 48;

// A letter a number up to 255; `before`: what each is more than, around in a circle.
export function sharesOf(letters, before) {
  const shares = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) {
    shares[i] = letters.charCodeAt(i) - FIRST + (before ? before[i] : 0);
  }
  return shares;
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const rest = bits & 0x3ff;
  if (exponent === 31) return rest ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + rest / 1024) : sign * 2 ** -14 * (rest / 1024);
}

const TYPES = { int32: Int32Array, steps: Int16Array, float16: Uint16Array, float32: Float32Array };

// A column whose numbers are made as they are read: of thousands a page shows twenty.
export class Column {
  constructor({ type, bytes }) {
    const planes = bytesOf(bytes);
    const size = TYPES[type].BYTES_PER_ELEMENT;
    this.length = planes.length / size;
    const together = new Uint8Array(planes.length);
    for (let plane = 0, at = 0; plane < size; plane++) {
      for (let i = 0; i < this.length; i++) together[i * size + plane] = planes[at++];
    }
    this.stored = new TYPES[type](together.buffer);
    this.made = type === "float16" ? half : (value) => value;
  }

  at(row) {
    const value = this.made(this.stored[row]);
    return value === MISSING || Number.isNaN(value) ? null : value;
  }

  // In which row each value stands, of a column that holds each once.
  get rows() {
    this.found ??= new Map(Array.from(this.stored, (value, row) => [value, row]));
    return this.found;
  }
}
