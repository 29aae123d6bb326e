// Columns of numbers, which come as bytes.

const MISSING = -32768;

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const rest = bits & 0x3ff;
  if (exponent === 31) return rest ? null : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + rest / 1024) : sign * 2 ** -14 * (rest / 1024);
}

const READ = {
  int32: [4, (view, at) => view.getInt32(at, true)],
  steps: [2, (view, at) => view.getInt16(at, true)],
  float16: [2, (view, at) => half(view.getUint16(at, true))],
  float32: [4, (view, at) => view.getFloat32(at, true)],
};

export function column({ type, bytes }) {
  const letters = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
  const view = new DataView(letters.buffer);
  const [size, read] = READ[type];
  return Array.from({ length: letters.length / size }, (_, i) => {
    const value = read(view, i * size);
    return value === MISSING || Number.isNaN(value) ? null : value;
  });
}
