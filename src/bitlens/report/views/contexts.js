// A feature's contexts are made when it is chosen: there are many, and few are looked at.

import { element, showTip, tip, whenSeen } from "./elements.js";
import { entry } from "./entries.js";

const STEPS = 8;

function excerpt([, where, peak, tokens, reference, twin], texts, top) {
  const box = element("div", undefined, "excerpt");
  box.append(element("span", where, "where"));
  for (const [whose, activations] of [["reference", reference], ["twin", twin]]) {
    const line = element("p");
    const shown = activations[peak].toLocaleString("en", { maximumSignificantDigits: 3 });
    line.append(element("span", `${whose}: ${shown} at the underlined token`, "whose"));
    tokens.forEach((number, i) => {
      const step = top > 0 ? Math.ceil((STEPS * Math.max(0, activations[i])) / top) : 0;
      const token = element("span", texts[number], step ? `tokens heat${step}` : "tokens");
      if (i === peak) token.classList.add("peak");
      token.addEventListener("pointerenter", (event) =>
        showTip(null, event, null, { token: texts[number], reference: reference[i], twin: twin[i] }),
      );
      token.addEventListener("pointerleave", () => (tip.hidden = true));
      line.append(token);
    });
    box.append(line);
  }
  return box;
}

// What stands below a feature: where each model fires most.
export function excerptsOf({ excerpts }, texts) {
  const top = Math.max(0, ...excerpts.flatMap(([, , , , a, b]) => [...a, ...b]));
  return ["reference", "twin"].flatMap((who) => {
    const mine = excerpts.filter(([found]) => found === who);
    const title = element("p", `Where the ${who} fires most, in the documents shown`, "group");
    return mine.length ? [title, ...mine.map((one) => excerpt(one, texts, top))] : [];
  });
}

async function open(contexts) {
  const { features, texts } = await entry(contexts.dataset.entry);
  const select = contexts.querySelector("select");
  select.append(
    ...features.map(({ title }, number) => {
      const option = element("option", title);
      option.value = number;
      return option;
    }),
  );
  contexts.querySelector(".count").textContent = `${features.length} shown`;
  const show = () => {
    const feature = features[Number(select.value)];
    contexts.querySelector(".facts").textContent = feature.facts;
    contexts.querySelector(".excerpts").replaceChildren(...excerptsOf(feature, texts));
  };
  select.addEventListener("change", show);
  show();
}

for (const contexts of document.querySelectorAll(".contexts")) {
  whenSeen(contexts, () => open(contexts));
}
