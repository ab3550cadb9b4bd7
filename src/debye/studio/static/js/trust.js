// What to know before relying on a prediction: its warnings, and what the model has seen.

import { h, panel } from "./dom.js";
import { UNITS, formula, number } from "./units.js";

export function trustPanel(store, about) {
  const said = h("ul", { className: "warnings", ariaLabel: "Warnings" });
  const facts = h("p", { className: "facts" });
  const table = h("div", { className: "periodic", role: "img" });
  const cells = new Map();
  for (const [symbol, { period, group, block, number: z }] of Object.entries(about.elements)) {
    if (symbol === "D" || symbol === "T") continue;
    const f = block === "f";
    const column = f ? 3 + ((z - (period === 6 ? 57 : 89)) % 15) + 1 : group;
    const square = h("span", { title: symbol }, symbol);
    square.style.gridColumn = String(f ? column : group);
    square.style.gridRow = String(f ? period + 2 : period);
    square.classList.toggle("seen", about.seen.includes(symbol));
    cells.set(symbol, square);
    table.append(square);
  }
  const key = h(
    "p",
    { className: "key" },
    h("span", { className: "seen" }, "seen in training"),
    " ",
    h("span", {}, "never seen"),
    " ",
    h("span", { className: "here seen" }, "in this crystal"),
  );
  const element = panel("How sure it is", { id: "trust" }, said, facts, table, key);
  store.on(["current", "bands", "unit"], (now) => {
    if (!now.current) return;
    const { current, bands } = now;
    const { label, factor } = UNITS[now.unit];
    const lines = [
      ...current.warnings,
      ...(bands?.notes ?? []).filter((note) => !current.warnings.includes(note)),
    ];
    said.replaceChildren(
      ...(lines.length ? lines : ["Nothing speaks against it."]).map((line) => h("li", {}, sentence(line))),
    );
    facts.textContent =
      current.expected_error == null
        ? ""
        : `Expected error of the spectrum: ${number(current.expected_error * factor, 3)} ${label}, larger than for ${number(100 * current.rank, 2)} % of the training crystals` +
          (current.nearest ? `; the nearest of these is ${formula(current.nearest)}.` : ".");
    for (const [symbol, square] of cells) square.classList.toggle("here", symbol in current.composition);
    const unseen = current.unseen.length
      ? `; of this crystal it has never seen ${current.unseen.join(", ")}`
      : "";
    table.setAttribute(
      "aria-label",
      `Periodic table: the model has seen ${about.seen.length} elements${unseen}`,
    );
  });
  return element;
}

export const sentence = (text) => {
  const line = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(line) ? line : `${line}.`;
};
