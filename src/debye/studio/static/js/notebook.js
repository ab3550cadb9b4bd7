// The cell, bands and moving modes of one prediction in a notebook: no server, no network.

import { cellPanel } from "./cellpanel.js";
import { h } from "./dom.js";
import { spectraPanel } from "./spectra.js";
import { Store } from "./store.js";
import { UNITS, formula, number } from "./units.js";

/** Build the view in an element from what Python wrote beside it. */
export function show(place, { about, current, bands, modes }) {
  document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches
    ? "dark"
    : "light";
  const store = new Store({
    about,
    current,
    bands,
    item: null,
    items: [],
    unit: "cm-1",
    theme: "light",
    mode: null,
    moving: null,
    partial: "element",
    hidden: new Set(),
    overlay: [],
    measured: null,
    T: 300,
    cells: 1,
    modesAt: async (point) => modes[point],
  });
  const unit = h(
    "select",
    { ariaLabel: "Unit of frequency", onchange: () => store.set({ unit: unit.value }) },
    Object.entries(UNITS).map(([value, { label }]) => h("option", { value }, label)),
  );
  const [cell, motion] = cellPanel(store, about);
  place.store = store;
  place.append(
    h(
      "div",
      { className: "heading" },
      h("h2", { className: "title" }, formula(current.formula)),
      h("p", { className: "means" }, `mean frequency ${number(current.mean_frequency)} cm⁻¹`),
      unit,
    ),
    h("div", { className: "grid beside" }, cell, spectraPanel(store, motion)),
    h(
      "ul",
      { className: "warnings" },
      current.warnings.map((line) => h("li", {}, line)),
    ),
  );
  // In a frame of a notebook, as high as it is: narrow columns stack the panels.
  const frame = window.frameElement;
  const fit = () => (frame.style.height = `${Math.ceil(place.getBoundingClientRect().bottom)}px`);
  if (frame) new ResizeObserver(fit).observe(place);
}
