// Phonon bands along a path, and the choice of the mode that moves.

import { post } from "./api.js";
import { tell } from "./dom.js";
import { modeOf } from "./motion.js";
import { UNITS, number, pointLabel } from "./units.js";

/** Draw the bands on the axis of frequency that they share with the density of states. */
export function drawBands(chart, now, frame) {
  const { bands, mode } = now;
  if (!bands) {
    chart.draw({ x: { label: "Wave vector", domain: [0, 1], ticks: [] }, y: frame, layers: [] });
    return;
  }
  const { factor } = frame;
  const breaks = new Set();
  let end = 0;
  for (const count of bands.segments) breaks.add((end += count));
  const layers = [];
  if (frame.domain[0] < 0)
    layers.push({
      kind: "area",
      className: "imaginary",
      x: [0, bands.distance.at(-1)],
      y: [frame.domain[0], frame.domain[0]],
      y2: [0, 0],
      opacity: 1,
    });
  const branch = (table, j) => table.map((row) => row[j] * factor);
  if (bands.range)
    for (let j = 0; j < bands.frequency[0].length; j++) {
      let from = 0;
      for (const to of breaks) {
        const part = (table) => branch(table, j).slice(from, to);
        layers.push({
          kind: "area",
          className: "spread",
          x: bands.distance.slice(from, to),
          y: part(bands.range[0]),
          y2: part(bands.range[1]),
          opacity: 1,
        });
        from = to;
      }
    }
  for (let j = 0; j < bands.frequency[0].length; j++) {
    layers.push({
      className: mode?.branch === j ? "branch chosen" : "branch",
      x: bands.distance,
      y: branch(bands.frequency, j),
      breaks,
      width: mode?.branch === j ? 2.6 : 1.3,
    });
  }
  if (mode)
    layers.push({
      kind: "points",
      className: "chosen-point",
      x: [bands.distance[mode.point]],
      y: [bands.frequency[mode.point][mode.branch] * factor],
      r: 6,
    });
  chart.draw({
    x: { label: "Wave vector", domain: [0, bands.distance.at(-1)], ticks: labelled(bands) },
    y: frame,
    layers,
    read: (_, at) => at && readBands(now, nearest(now, at)),
  });
}

/** Labels of the path by their distance; where it jumps, both. */
function labelled(bands) {
  const found = new Map();
  bands.labels.forEach((label, i) => {
    if (!label) return;
    const [at, name] = [bands.distance[i].toFixed(6), pointLabel(label)];
    if (!found.has(at)) found.set(at, name);
    else if (!found.get(at).split("|").includes(name)) found.set(at, `${found.get(at)}|${name}`);
  });
  return [...found].map(([at, name]) => [Number(at), name]);
}

function readBands(now, found) {
  if (!found) return null;
  const { bands, unit } = now;
  const w = bands.frequency[found.point][found.branch];
  return {
    lines: [
      ["mode", `${found.branch + 1} of ${bands.frequency[0].length}`],
      ["ω", `${number(w * UNITS[unit].factor)} ${UNITS[unit].label}`],
      ["q", bands.q[found.point].map((x) => number(x, 3)).join(", ")],
    ],
    dots: [{ x: bands.distance[found.point], y: w * UNITS[unit].factor }],
  };
}

/** The mode nearest to a place: its point of the path, then its branch. */
export function nearest({ bands, unit }, at) {
  if (!bands) return null;
  const gaps = bands.distance.map((d) => Math.abs(d - at.x));
  const point = gaps.indexOf(Math.min(...gaps));
  const rises = bands.frequency[point].map((w) => Math.abs(w * UNITS[unit].factor - at.y));
  return { point, branch: rises.indexOf(Math.min(...rises)) };
}

/** Arrow keys go along the path and from branch to branch. */
export function walk(store, event) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const { bands, mode } = store.values;
  if (!moves[event.key] || !bands) return;
  event.preventDefault();
  const [along, up] = moves[event.key];
  const from = mode ?? { point: 0, branch: 0 };
  pick(store, {
    point: Math.min(bands.q.length - 1, Math.max(0, from.point + (mode ? along : 0))),
    branch: Math.min(bands.frequency[0].length - 1, Math.max(0, from.branch + (mode ? up : 0))),
  });
}

/** Choose a mode, and have it move. */
export async function pick(store, found) {
  if (!found) return;
  const { item, bands } = store.values;
  const asked = (point) => post("/api/modes", { item, point }, { about: "eigenvectors" });
  store.set({ mode: found });
  try {
    const modes = await (store.values.modesAt ?? asked)(found.point);
    const { mode } = store.values;
    if (mode?.point !== found.point || mode?.branch !== found.branch || store.values.bands !== bands) return;
    store.set({ moving: { ...modeOf(modes, found.branch, bands.masses), point: found.point } });
  } catch (error) {
    tell(error);
  }
}
