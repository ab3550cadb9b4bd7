// A screened folder as a scatter: brush over it, and the table holds what lies within.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { ofNumber } from "./colours.js";
import { h, panel, s, tell } from "./dom.js";
import { UNITS, formula, number } from "./units.js";

const QUANTITIES = {
  "mean-frequency": "Mean frequency",
  "heat-capacity-per-kg": "C_V (J/(K·kg))",
  "heat-capacity-per-atom": "C_V (J/(K·mol of atoms))",
  "entropy-per-atom": "S (J/(K·mol of atoms))",
  "zero-point-energy-per-atom": "Zero-point energy (kJ/mol of atoms)",
};
const MOST_LINES = 200;
const FAR = 1e12; // beyond all values; infinity is no number of JSON

export async function view(store) {
  const { screenings } = store.get("about");
  let found = null;
  const before = store.get("restoring")?.screening ?? {};
  let brush = null;
  const folder = h(
    "select",
    { ariaLabel: "Screening", onchange: () => load() },
    screenings.map((name, i) => h("option", { value: i }, name)),
  );
  const quantity = h(
    "select",
    { ariaLabel: "Quantity", onchange: () => load() },
    Object.entries(QUANTITIES).map(([value, label]) => h("option", { value }, label)),
  );
  const chart = new Chart({
    label: "Each structure's quantity against its mean atomic mass; drag to choose",
    along: "both",
    height: 420,
  });
  const count = h("p", { className: "facts", role: "status" });
  const body = h("tbody");
  const clear = h(
    "button",
    {
      type: "button",
      onclick: () => {
        brush = null;
        draw();
      },
    },
    "All",
  );
  const limits = ["Least", "Most"].map((label) =>
    h("input", { type: "number", step: "any", ariaLabel: `${label} value`, onchange: () => fromNumbers() }),
  );
  const table = h(
    "table",
    { className: "open" },
    h("caption", { className: "unseen" }, "Structures within the brush"),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ["Structure", "From", "Mass (u)", "Value", "Warnings"].map((name) => h("th", { scope: "col" }, name)),
      ),
    ),
    body,
  );
  const factor = () => (quantity.value === "mean-frequency" ? UNITS[store.get("unit")].factor : 1);
  const named = () =>
    QUANTITIES[quantity.value] +
    (quantity.value === "mean-frequency" ? ` (${UNITS[store.get("unit")].label})` : "");
  const chosen = () =>
    found.rows.filter(
      ({ mass, value }) =>
        !brush || (mass >= brush.x[0] && mass <= brush.x[1] && value >= brush.y[0] && value <= brush.y[1]),
    );

  function draw() {
    const span = (values) => {
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const room = 0.06 * (high - low || 1);
      return [low - room, high + room];
    };
    const rows = found.rows;
    const within = new Set(chosen());
    const points = (some, colour, className) => ({
      kind: "points",
      x: some.map(({ mass }) => mass),
      y: some.map(({ value }) => value),
      colour,
      className,
      r: 4,
    });
    chart.draw({
      x: { label: "Mean atomic mass (u)", domain: span(rows.map(({ mass }) => mass)) },
      y: { label: named(), domain: span(rows.map(({ value }) => value)) },
      layers: [
        points(
          rows.filter((row) => !within.has(row)),
          null,
          "outside",
        ),
        points(
          [...within].filter(({ warnings }) => !warnings.length),
          ofNumber(0),
        ),
        points(
          [...within].filter(({ warnings }) => warnings.length),
          ofNumber(1),
        ),
      ],
      read: (_, at) => at && nearest(rows, at, chart),
    });
    store.set({ screening: { folder: screenings[folder.value], quantity: quantity.value, brush } });
    const lines = chosen();
    count.textContent = `${lines.length} of ${rows.length} structures${brush ? " within the brush" : ""}; ${found.failed} failed. Orange: with warnings.`;
    body.replaceChildren(
      ...lines
        .slice(0, MOST_LINES)
        .map((row) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, formula(row.formula)),
            h("td", { className: "name" }, row.id),
            h("td", {}, number(row.mass)),
            h("td", {}, number(row.value)),
            h("td", { className: "words" }, row.warnings.join("; ")),
          ),
        ),
    );
  }
  function fromNumbers() {
    const [low, high] = limits.map(({ value }) => (value === "" ? null : Number(value)));
    brush =
      low == null && high == null
        ? null
        : { x: [-FAR, FAR], y: [low ?? -FAR, high ?? FAR] };
    draw();
  }
  async function load(kept = null) {
    try {
      found = await get(`/api/screenings/${folder.value}?by=${quantity.value}`);
      for (const row of found.rows) row.value *= factor();
      brush = kept;
      draw();
    } catch (error) {
      tell(error);
    }
  }
  brushing(chart, (next) => {
    brush = next;
    draw();
  });
  store.on(["theme"], () => found && draw());
  store.on(["unit"], () => found && load());
  if (screenings.includes(before.folder)) folder.value = screenings.indexOf(before.folder);
  if (before.quantity in QUANTITIES) quantity.value = before.quantity;
  await load(before.brush);
  return h(
    "div",
    { className: "screening" },
    panel(
      "Screening",
      { id: "screening", tools: clear },
      h(
        "div",
        { className: "row" },
        folder,
        quantity,
        h("label", {}, "from ", limits[0]),
        h("label", {}, "to ", limits[1]),
      ),
      chart.element,
      count,
    ),
    panel(
      "Structures",
      {},
      h(
        "div",
        { className: "scroll tall", tabIndex: 0, role: "group", ariaLabel: "Table of the structures" },
        table,
      ),
    ),
  );
}

function nearest(rows, at, chart) {
  const far = ({ mass, value }) =>
    Math.hypot(chart.scaleX(mass) - chart.scaleX(at.x), chart.scaleY(value) - chart.scaleY(at.y));
  const row = rows.reduce((a, b) => (far(b) < far(a) ? b : a), rows[0]);
  if (!row || far(row) > 40) return null;
  return {
    lines: [
      [formula(row.formula), ""],
      ["mass", `${number(row.mass)} u`],
      ["value", number(row.value)],
    ],
    dots: [{ x: row.mass, y: row.value }],
  };
}

/** Dragging over a chart tells the rectangle that was drawn. */
function brushing(chart, told) {
  let from = null;
  const at = (event) => {
    const box = chart.svg.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  chart.svg.addEventListener("pointerdown", (event) => {
    from = at(event);
    chart.svg.setPointerCapture(event.pointerId);
  });
  chart.svg.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = at(event);
    chart.marks.replaceChildren(
      s("rect", {
        class: "brush",
        x: Math.min(from[0], to[0]),
        y: Math.min(from[1], to[1]),
        width: Math.abs(to[0] - from[0]),
        height: Math.abs(to[1] - from[1]),
      }),
    );
  });
  chart.svg.addEventListener("pointerup", (event) => {
    const [start, to] = [from, at(event)];
    from = null;
    if (!start || Math.hypot(to[0] - start[0], to[1] - start[1]) < 5) return told(null);
    const ends = (a, b, scale) => [scale.invert(a), scale.invert(b)].sort((p, q) => p - q);
    told({ x: ends(start[0], to[0], chart.scaleX), y: ends(start[1], to[1], chart.scaleY) });
  });
}
