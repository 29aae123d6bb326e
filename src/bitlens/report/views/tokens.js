// Tokens as they are shown, and how far apart two predictions are as a shade.

// Where one shade ends and the next begins, in nats: the same for every twin and document.
export const EDGES = [0.01, 0.03, 0.1, 0.3, 1, 3];

export function shade(kl) {
  return EDGES.filter((edge) => kl >= edge).length;
}

// As it stands in a text: line breaks are seen, and break the line.
export function inText(word) {
  return word.replaceAll("\r\n", "\n").replaceAll("\r", "\n").replaceAll("\n", "↵\n");
}

// By itself: the spaces at its ends are seen too.
export function alone(word) {
  if (!word) return "(empty)";
  const spaces = (found) => "␣".repeat(found.length);
  return inText(word).replaceAll("\n", "").replaceAll("\t", "⇥").replace(/^ +| +$/g, spaces);
}
