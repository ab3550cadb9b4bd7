// An alloy between two of the open structures, its fraction on a slider.

import { post } from "./api.js";
import { h, panel, tell } from "./dom.js";
import { UNITS, formula, number } from "./units.js";

export function alloyPanel(store, open) {
  const choose = (label) => h("select", { ariaLabel: label });
  const [first, second] = [choose("First parent"), choose("Second parent")];
  const shown = h("output", {}, "0.5");
  const said = h("p", { className: "facts", role: "status" });
  let waiting = null;
  const slider = h("input", {
    type: "range",
    min: 0,
    max: 1,
    step: 0.05,
    value: 0.5,
    ariaLabel: "Fraction of the second parent",
    oninput: () => {
      shown.textContent = slider.value;
      clearTimeout(waiting);
      waiting = setTimeout(make, 150);
    },
  });
  let serial = 0;
  const make = async () => {
    const items = store.get("items");
    const [a, b] = [items[first.value], items[second.value]];
    if (!a || !b) return;
    const mine = ++serial;
    const spec = { alloy: [a.spec, b.spec], fraction: Number(slider.value) };
    try {
      const { structures } = await post("/api/predict", { item: spec }, { about: "the alloy" });
      if (mine !== serial) return;
      await open(store, spec, structures[0]);
      said.textContent = `${formula(structures[0].formula)}: mean frequency ${number(structures[0].mean_frequency * UNITS[store.get("unit")].factor)} ${UNITS[store.get("unit")].label}`;
    } catch (error) {
      tell(error);
    }
  };
  const element = panel(
    "Alloy",
    { id: "alloy", hidden: true },
    h("div", { className: "row" }, first, "to", second),
    h("label", { className: "row" }, "x = ", shown, slider),
    h("button", { type: "button", onclick: make }, "Predict the alloy"),
    said,
  );
  store.on(["items"], (now) => {
    const pure = now.items.map((entry, i) => [entry, i]).filter(([{ spec }]) => !spec.alloy);
    element.hidden = pure.length < 2;
    for (const [i, select] of [first, second].entries()) {
      const before = select.value;
      select.replaceChildren(
        ...pure.map(([{ record }, k]) => h("option", { value: k }, formula(record.formula))),
      );
      const kept = pure.some(([, k]) => String(k) === before) && (i === 0 || before !== first.value);
      select.value = kept ? before : String(pure[Math.min(i, pure.length - 1)]?.[1] ?? "");
    }
  });
  return element;
}
