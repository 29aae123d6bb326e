// Dark or light: as the reader's system has it, until a button says otherwise.

const dark = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;
const name = document.querySelector("#scheme .what");

function current() {
  return root.dataset.scheme ?? (dark.matches ? "dark" : "light");
}

const listeners = [tell];

function tell() {
  name.textContent = current() === "dark" ? "Light" : "Dark";
}

// Called when other colours are shown: what is drawn by hand must be drawn again.
export function onScheme(listener) {
  listeners.push(listener);
}

document.getElementById("scheme").addEventListener("click", () => {
  root.dataset.scheme = current() === "dark" ? "light" : "dark";
  listeners.forEach((listener) => listener());
});
dark.addEventListener("change", () => listeners.forEach((listener) => listener()));
tell();
