// Tables too long to be read whole: filtered, sorted, taken away as CSV.

import { button, csv, element, said, save, whenSeen } from "./elements.js";
import { entry, unpack } from "./entries.js";
import { isShown, onTwins, ownerOf } from "./twins.js";

async function open(ledger) {
  const held = await entry(ledger.dataset.entry);
  const { fields, numeric } = held;
  const table = unpack(held);
  const needles = table.map((row) => row.join(" ").toLowerCase());
  const whose = fields.map((name, i) => (name === "compression" ? i : -1)).filter((i) => i >= 0);
  const [filter, head, body, count, more] = ["input", "thead", "tbody", ".count", ".more"].map((s) =>
    ledger.querySelector(s),
  );
  const order = { column: null, down: false };
  let shown = 50;

  function chosen() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = table.filter(
      (row, i) =>
        whose.every((column) => isShown(ownerOf(row[column] ?? ""))) &&
        words.every((word) => needles[i].includes(word)),
    );
    const { column, down } = order;
    if (column === null) return found;
    const rank = (a, b) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const sign = numeric[column] ? a - b : a.localeCompare(b, "en", { numeric: true });
      return down ? -sign : sign;
    };
    return found.sort((a, b) => rank(a[column], b[column]));
  }

  function show() {
    const found = chosen();
    body.replaceChildren(
      ...found.slice(0, shown).map((row) => {
        const line = element("tr");
        line.append(
          ...row.map((cell, i) => {
            const made = element("td", said(cell), numeric[i] ? "number" : "");
            if (!numeric[i] && cell) made.title = cell;
            return made;
          }),
        );
        return line;
      }),
    );
    const seen = Math.min(shown, found.length);
    count.textContent = `${seen.toLocaleString("en")} of ${found.length.toLocaleString("en")} rows`;
    more.hidden = found.length <= shown;
  }

  const heading = element("tr");
  fields.forEach((title, column) => {
    const cell = element("th", undefined, numeric[column] ? "number" : "");
    cell.scope = "col";
    cell.append(
      button(title, () => {
        order.down = order.column === column && !order.down;
        order.column = column;
        for (const other of heading.children) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
        show();
      }),
    );
    heading.append(cell);
  });
  head.append(heading);
  filter.addEventListener("input", () => {
    shown = 50;
    show();
  });
  more.addEventListener("click", () => {
    shown += 200;
    show();
  });
  ledger.querySelector(".save").addEventListener("click", (event) => {
    save(`${event.target.dataset.name}.csv`, "text/csv", csv(fields, chosen()));
  });
  onTwins(show);
  show();
}

for (const ledger of document.querySelectorAll(".ledger")) whenSeen(ledger, () => open(ledger));
