// The page's data: entries packed one by one, each unpacked when something first needs it.

const packed = JSON.parse(document.getElementById("data").textContent);
const opened = new Map();

export function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

async function open(number) {
  const stream = new Blob([bytesOf(packed[number])]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

export function entry(number) {
  if (!opened.has(number)) opened.set(number, open(number));
  return opened.get(number);
}

// Tables come by columns, each text once and its number in the columns.
export function unpack({ texts, textual, columns }) {
  const text = (cell, i) => (textual[i] && cell !== null ? texts[cell] : cell);
  const length = columns.length ? columns[0].length : 0;
  return Array.from({ length }, (_, row) => columns.map((column, i) => text(column[row], i)));
}
