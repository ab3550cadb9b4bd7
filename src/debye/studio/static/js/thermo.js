// Heat capacity, entropy and mean square displacements against temperature.

import { Chart } from "./chart.js";
import { visible } from "./colours.js";
import { h, panel } from "./dom.js";
import { interpolated, number } from "./units.js";

const QUANTITIES = {
  heat_capacity: { name: "C_V", title: "Heat capacity", unit: "J/(K·mol)" },
  entropy: { name: "S", title: "Entropy", unit: "J/(K·mol)" },
  displacement: { name: "⟨u²⟩", title: "Mean square displacement", unit: "Å²" },
};

export function thermoPanel(store, about) {
  const T = about.temperature;
  const slider = h("input", {
    type: "range",
    min: 0,
    max: T.at(-1),
    step: 5,
    id: "temperature",
    ariaLabel: "Temperature in kelvin",
    oninput: () => store.set({ T: Number(slider.value) }),
  });
  const shown = h("output", { htmlFor: "temperature" });
  const values = h("dl", { className: "values" });
  const charts = Object.entries(QUANTITIES).map(([key, { title }]) => [
    key,
    new Chart({ label: `${title} against temperature`, height: 210, pad: { left: 52 } }),
  ]);
  const element = panel(
    "Against temperature, per mole of atoms",
    { id: "thermo", tools: h("label", {}, "T ", slider, shown) },
    values,
    h(
      "div",
      { className: "three" },
      charts.map(([, chart]) => chart.element),
    ),
  );
  store.on(["current", "T", "theme"], (now) => {
    if (!now.current) return;
    slider.value = now.T;
    shown.textContent = ` ${now.T} K`;
    for (const [key, chart] of charts) drawQuantity(chart, key, now, about, T);
    values.replaceChildren(
      ...valuesAt(now, T).flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]),
    );
  });
  return element;
}

/** Curves of a quantity: one for the cell, or one for each site. */
function curves(key, current, about) {
  if (key !== "displacement") return [{ label: QUANTITIES[key].name, values: current[key], colour: null }];
  return current.displacement.map((values, i) => {
    const site = current.species[i];
    const symbol = Object.keys(site).reduce((a, b) => (site[b] > site[a] ? b : a));
    return {
      label: `${Object.keys(site).join("/")}${i + 1}`,
      values,
      colour: visible(about.elements[symbol]?.colour ?? "#888888"),
    };
  });
}

function drawQuantity(chart, key, now, about, T) {
  const { unit, name } = QUANTITIES[key];
  const lines = curves(key, now.current, about);
  const ends = now.current.bounds[key];
  const finite = lines.flatMap(({ values }) => values).filter((v) => v != null);
  const layers = ends
    ? [{ kind: "area", className: "uncertain", x: T, y: ends[0], y2: ends[1], opacity: 1 }]
    : [];
  for (const { values, colour } of lines)
    layers.push({ x: T, y: values, colour, className: colour ? "" : "total", width: 2 });
  layers.push({
    className: "at",
    x: [now.T, now.T],
    y: [0, Math.max(...finite) * 1.1],
    width: 1.2,
    dash: "3 3",
  });
  const distinct = lines.length > 8 ? lines.slice(0, 8) : lines;
  chart.draw({
    x: { label: "T (K)", domain: [0, T.at(-1)] },
    y: { label: `${name} (${unit})`, domain: [0, Math.max(...finite, 1e-9) * 1.08] },
    layers,
    read: (at) => ({
      lines: [
        ["T", `${number(at, 3)} K`],
        ...distinct.map(({ label, values, colour }) => [label, number(interpolated(T, values, at)), colour]),
      ],
      dots: distinct
        .map(({ values, colour }) => ({ x: at, y: interpolated(T, values, at), colour: colour ?? undefined }))
        .filter(({ y }) => y != null),
    }),
  });
}

function valuesAt(now, T) {
  const { current } = now;
  const at = (values) => interpolated(T, values, now.T);
  const half = (key) =>
    current.bounds[key]
      ? ` ± ${number((at(current.bounds[key][1]) - at(current.bounds[key][0])) / 2, 2)}`
      : "";
  const us = current.displacement.map(at).filter((v) => v != null);
  return [
    ["Heat capacity C_V", `${number(at(current.heat_capacity))}${half("heat_capacity")} J/(K·mol)`],
    ["Entropy S", `${number(at(current.entropy))}${half("entropy")} J/(K·mol)`],
    [
      "⟨u²⟩ of the sites",
      us.length ? `${number(Math.min(...us), 3)} to ${number(Math.max(...us), 3)} Å²` : "not finite",
    ],
    ["Zero-point energy", `${number(current.zero_point_energy)} kJ/mol`],
  ];
}
