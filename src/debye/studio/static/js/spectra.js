// Bands and density of states beside each other, on one axis of frequency.

import { drawBands, nearest, pick, walk } from "./bands.js";
import { Chart } from "./chart.js";
import { ofNumber, visible } from "./colours.js";
import { h, panel } from "./dom.js";
import { UNITS, formula, interpolated, number } from "./units.js";

const SEEN = 2e-3; // of the highest peak: below it a density is taken to have ended

export function spectraPanel(store, motion) {
  const bandsChart = new Chart({
    label: "Phonon bands along the path through the Brillouin zone; arrow keys choose a mode",
    along: "both",
    height: 430,
    onPick: (at) => pick(store, nearest(store.values, at)),
    pad: { right: 6 },
    grid: false,
  });
  const dosChart = new Chart({
    label: "Phonon density of states",
    along: "y",
    height: 430,
    pad: { left: 8, right: 12 },
  });
  bandsChart.key = (event) => walk(store, event);
  const legend = h("div", { className: "legend", role: "group", ariaLabel: "Curves" });
  const partial = h(
    "select",
    {
      ariaLabel: "Partial densities of states",
      onchange: () => store.set({ partial: partial.value, hidden: new Set() }),
    },
    ["element", "site", "none"].map((name) =>
      h("option", { value: name }, { element: "by element", site: "by site", none: "total only" }[name]),
    ),
  );
  const note = h("p", { className: "note aside", role: "note", hidden: true });
  const element = panel(
    "Bands and density of states",
    { id: "spectra", className: "spectra", tools: h("label", {}, "Partials ", partial) },
    h("div", { className: "pair" }, bandsChart.element, dosChart.element),
    legend,
    motion,
    note,
  );
  store.on(
    ["current", "bands", "unit", "partial", "hidden", "overlay", "measured", "mode", "theme"],
    (now) => {
      if (!now.current) return;
      partial.value = now.partial;
      const frame = axis(now);
      drawDos(dosChart, store, frame);
      drawBands(bandsChart, now, frame);
      drawLegend(legend, store);
      const said = apart(now);
      note.hidden = !said;
      note.textContent = said;
    },
  );
  return element;
}

/** The axis of frequency that both panels share: as far as either has something. */
function axis(now) {
  const factor = UNITS[now.unit].factor;
  const ends = [now.current, ...now.overlay].map(({ frequency, dos }) => {
    const top = Math.max(...dos);
    const last = dos.findLastIndex((g) => g > SEEN * top);
    return frequency[Math.min(frequency.length - 1, last + 1)];
  });
  const all = now.bands ? now.bands.frequency.flat() : [0];
  const low = Math.min(0, ...all.filter((w) => w < -0.5));
  const high = Math.max(...ends, ...all) * 1.03;
  return {
    factor,
    label: `Frequency (${UNITS[now.unit].label})`,
    domain: [low * 1.05 * factor, high * factor],
  };
}

/** What is to be said where the two panels do not show the same range. */
function apart(now) {
  if (!now.bands)
    return now.about.bands || now.current.given
      ? ""
      : "This model predicts no force constants, and so no bands.";
  const { label, factor } = UNITS[now.unit];
  const [highest, end] = [Math.max(...now.bands.frequency.flat()), now.current.frequency.at(-1)];
  if (highest <= end) return "";
  return (
    `The bands reach ${number(highest * factor)} ${label}, but the axis of the density of states ends at ${number(end * factor)} ${label}, ` +
    "as the spectra do that the model learned from: what lies above is extrapolated in the bands, and counted as softer modes in the density."
  );
}

/** The partial densities that are asked for, each with its colour. */
export function partials(now) {
  const { current, partial } = now;
  if (partial === "none") return [];
  const parts = Object.entries(partial === "site" ? current.site_dos : current.elements);
  const seen = {};
  return parts.map(([label, dos]) => {
    const symbol = label.match(/^[A-Z][a-z]?/)[0];
    const count = (seen[symbol] = (seen[symbol] ?? -1) + 1);
    return {
      label,
      dos,
      colour: visible(now.about.elements[symbol]?.colour ?? "#888888"),
      dash: partial === "site" && count ? `${2 + 2 * (count % 4)} 3` : null,
    };
  });
}

function drawDos(chart, store, frame) {
  const now = store.values;
  const { factor } = frame;
  const { current, hidden, overlay, measured } = now;
  const y = current.frequency.map((w) => w * factor);
  const density = (g) => g.map((v) => v / factor);
  const layers = [];
  if (current.band && !hidden.has("90 % band")) {
    const [low, high] = current.band;
    layers.push({
      kind: "area",
      className: "uncertain",
      x: density(low),
      y,
      x2: density(high),
      y2: y,
      opacity: 1,
    });
  }
  for (const { label, dos, colour, dash } of partials(now)) {
    if (hidden.has(label)) continue;
    layers.push({ kind: "area", x: density(dos), y, x2: y.map(() => 0), colour, opacity: 0.16 });
    layers.push({ x: density(dos), y, colour, width: 1.6, dash });
  }
  if (!hidden.has("total")) layers.push({ className: "total", x: density(current.dos), y, width: 2.2 });
  overlay.forEach((other, i) => {
    const scale = current.n_atoms / other.n_atoms;
    layers.push({
      x: density(other.dos.map((g) => g * scale)),
      y: other.frequency.map((w) => w * factor),
      colour: ofNumber(i),
      width: 1.8,
      dash: "6 3",
    });
  });
  if (measured?.fit)
    layers.push({
      kind: "points",
      className: "measured",
      x: measured.density(current).map((g) => g / factor),
      y: measured.frequency.map((w) => w * factor),
      r: 2.2,
    });
  const tops = [
    current.dos,
    current.band?.[1] ?? [0],
    ...overlay.map((o) => o.dos.map((g) => (g * current.n_atoms) / o.n_atoms)),
  ];
  const top = Math.max(...tops.flat()) / factor;
  chart.draw({
    x: { label: `g (states per ${UNITS[now.unit].label})`, domain: [0, top * 1.05] },
    y: { ...frame, hidden: true },
    layers,
    read: (value) => readDos(store.values, value, factor),
  });
}

function readDos(now, value, factor) {
  const { current, hidden } = now;
  const w = value / factor;
  if (w < 0 || w > current.frequency.at(-1)) return null;
  const at = (dos) => interpolated(current.frequency, dos, w) / factor;
  const unit = UNITS[now.unit].label;
  const lines = [
    ["at", `${number(value)} ${unit}`],
    ["total", number(at(current.dos))],
  ];
  if (current.band)
    lines.push(["90 %", `${number(at(current.band[0]), 3)} to ${number(at(current.band[1]), 3)}`]);
  for (const { label, dos, colour } of partials(now))
    if (!hidden.has(label)) lines.push([label, number(at(dos)), colour]);
  return { lines, dots: [{ x: at(current.dos), y: value }] };
}

function drawLegend(legend, store) {
  const now = store.values;
  const rows = [
    ["total", null],
    ...(now.current.band ? [["90 % band", null]] : []),
    ...partials(now).map(({ label, colour }) => [label, colour]),
  ];
  const focused = document.activeElement?.dataset?.curve;
  legend.replaceChildren(
    ...rows.map(([label, colour]) => {
      const swatch = h("i", { className: `swatch ${label === "90 % band" ? "grey" : ""}` });
      if (colour) swatch.style.background = colour;
      const button = h(
        "button",
        {
          type: "button",
          className: "toggle",
          onclick: () => {
            const hidden = new Set(store.get("hidden"));
            if (!hidden.delete(label)) hidden.add(label);
            store.set({ hidden });
          },
        },
        swatch,
        label,
      );
      button.setAttribute("aria-pressed", String(!now.hidden.has(label)));
      button.dataset.curve = label;
      return button;
    }),
    ...now.overlay.map((other, i) => {
      const swatch = h("i", { className: "swatch" });
      swatch.style.background = ofNumber(i);
      return h(
        "span",
        { className: "other" },
        swatch,
        `${formula(other.formula)} (per ${number(now.current.n_atoms)} atoms)`,
      );
    }),
  );
  if (focused) legend.querySelector(`[data-curve="${CSS.escape(focused)}"]`)?.focus();
}
