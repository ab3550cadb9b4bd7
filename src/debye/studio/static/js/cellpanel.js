// The cell with its controls; a mode moves in it, in the primitive cell that bands are of.

import { CellViewer } from "./cell.js";
import { h, panel } from "./dom.js";
import { UNITS, formula, number } from "./units.js";

const SWITCHES = { bonds: "Bonds", polyhedra: "Polyhedra", images: "Images", arrows: "Arrows" };

/** The panel of the cell, and the controls of a mode, which stand under the bands. */
export function cellPanel(store, about) {
  const viewer = new CellViewer(about.elements, { height: 430 });
  const switches = Object.entries(SWITCHES).map(([name, label]) => {
    const box = h("input", {
      type: "checkbox",
      checked: viewer.options[name],
      onchange: () => viewer.set({ [name]: box.checked }),
    });
    return [name, box, h("label", {}, box, label)];
  });
  viewer.boxes = Object.fromEntries(switches.map(([name, box]) => [name, box]));
  const cells = h(
    "select",
    { ariaLabel: "Cells along each vector", onchange: () => store.set({ cells: Number(cells.value) }) },
    [1, 2, 3, 4].map((n) => h("option", { value: n }, `${n}×${n}×${n}`)),
  );
  const key = h("ul", { className: "atoms", ariaLabel: "Elements" });
  const facts = h("p", { className: "facts" });
  const play = h(
    "button",
    {
      type: "button",
      onclick: () => {
        viewer.play(!viewer.playing);
        play.textContent = viewer.playing ? "Pause" : "Play";
      },
    },
    "Pause",
  );
  const reach = h("input", {
    type: "range",
    min: 0.2,
    max: 3,
    step: 0.1,
    value: 1,
    ariaLabel: "Amplitude",
    oninput: () => {
      viewer.amplitudeFactor = Number(reach.value);
      if (!viewer.playing) viewer.render();
    },
  });
  const rest = h(
    "button",
    { type: "button", onclick: () => store.set({ mode: null, moving: null }) },
    "At rest",
  );
  const about_mode = h("p", { className: "mode-text", role: "status" });
  const motion = h(
    "div",
    { className: "motion", hidden: true },
    about_mode,
    h("div", { className: "row" }, play, h("label", {}, "Amplitude ", reach), rest),
  );
  const home = h("button", { type: "button", onclick: () => viewer.reset() }, "Front");
  const element = panel(
    "Cell",
    { id: "cell", tools: home },
    viewer.element,
    key,
    h(
      "div",
      { className: "row" },
      switches.map(([, , label]) => label),
      h("label", {}, "Cells ", cells),
    ),
    facts,
  );

  const show = (now) => {
    if (!now.current) return;
    const crystal = now.moving ? now.bands : now.current;
    cells.value = now.cells;
    viewer.show(crystal, { reps: [now.cells, now.cells, now.cells] });
    motion.hidden = !now.moving;
    if (now.moving) {
      viewer.move(now.moving);
      play.textContent = viewer.playing ? "Pause" : "Play";
    } else viewer.move(null);
    const [a, b, c] = now.current.cell.map((v) => Math.hypot(...v));
    facts.textContent =
      `a, b, c = ${[a, b, c].map((x) => number(x)).join(", ")} Å; V = ${number(now.current.volume)} Å³; ` +
      `${number(now.current.n_atoms)} atoms on ${now.current.n_sites} sites`;
    key.replaceChildren(
      ...Object.entries(now.current.composition).map(([symbol]) => {
        const ball = h("i", { className: "ball" });
        ball.style.background = about.elements[symbol]?.colour ?? "#888888";
        return h("li", {}, ball, symbol);
      }),
    );
  };
  const describe = (now) => {
    if (!now.moving) return;
    const { label, factor } = UNITS[now.unit];
    about_mode.textContent =
      `Mode ${now.moving.branch + 1}: ${number(now.moving.frequency * factor)} ${label} at q = (${now.moving.q.map((x) => number(x, 3)).join(", ")}), ` +
      `in the primitive cell of ${formula(now.bands.formula)}`;
  };
  store.on(["current", "moving", "cells"], show);
  store.on(["moving", "unit"], describe);
  store.on(["theme"], () => viewer.render());
  return [element, motion];
}
