// Tabs, folds, what is copied, and paper.

import { seeAll } from "./elements.js";

for (const tabs of document.querySelectorAll(".tabs")) {
  const panels = [...tabs.children].filter((child) => child.classList.contains("tab"));
  tabs.querySelector("fieldset").addEventListener("change", (event) => {
    panels.forEach((panel, number) => (panel.hidden = number !== Number(event.target.value)));
  });
}

for (const copy of document.querySelectorAll(".copy")) {
  copy.addEventListener("click", async () => {
    const text = copy.previousElementSibling;
    getSelection().selectAllChildren(text);
    await navigator.clipboard?.writeText(text.textContent).catch(() => {});
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
}

document.getElementById("print").addEventListener("click", async () => {
  await seeAll();
  print();
});
window.addEventListener("beforeprint", seeAll);
