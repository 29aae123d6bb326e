// Dark or light: as the reader's system has it, until a button says otherwise.

const dark = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;
const name = document.querySelector("#scheme .what");

function current() {
  return root.dataset.scheme ?? (dark.matches ? "dark" : "light");
}

function tell() {
  name.textContent = current() === "dark" ? "Light" : "Dark";
}

document.getElementById("scheme").addEventListener("click", () => {
  root.dataset.scheme = current() === "dark" ? "light" : "dark";
  tell();
});
dark.addEventListener("change", tell);
tell();
