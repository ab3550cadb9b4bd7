// A fitted system beside its data: frames in step, then what it says comes next.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { VIRIDIS, contrast, joined, ofNumber } from "./colours.js";
import { h, panel, tell } from "./dom.js";
import { Player, unpacked } from "./player.js";
import { sentence } from "./trust.js";
import { number, withError } from "./units.js";

export async function view(store) {
  const about = store.get("about");
  const stage = h("div", { className: "stage" });
  const law = h(
    "select",
    { ariaLabel: "Fitted system", onchange: () => load() },
    about.fitted.map((name, i) => h("option", { value: i }, name)),
  );
  const data = h(
    "select",
    { ariaLabel: "Frames to compare with", onchange: () => load() },
    about.stacks
      .map((name, i) => [name, i])
      .filter(([, i]) => about.with_states[i])
      .map(([name, i]) => h("option", { value: i }, name)),
  );
  const load = async (frame = 0) => {
    try {
      const found = await get(`/api/fitted/${law.value}?stack=${data.value}`);
      const names = { law: about.fitted[law.value], data: about.stacks[data.value] };
      stage.replaceChildren(...panels(store, found, names, frame));
    } catch (error) {
      tell(error);
    }
  };
  const before = store.get("restoring")?.fitted;
  if (before) {
    law.value = Math.max(0, about.fitted.indexOf(before.law));
    if (about.with_states[about.stacks.indexOf(before.data)]) data.value = about.stacks.indexOf(before.data);
  }
  if (about.with_states.some(Boolean)) await load(Number(before?.frame) || 0);
  else
    stage.append(
      h(
        "p",
        { className: "note" },
        "Name frames with their states too: debye studio frames.h5 law.safetensors",
      ),
    );
  return h(
    "div",
    { className: "speckle" },
    panel("Fitted system", { id: "systems" }, h("div", { className: "row" }, law, "beside", data)),
    stage,
  );
}

function panels(store, found, names, first) {
  const [tall, wide] = found.shown;
  const total = found.times.length;
  const player = (text, count, label) => {
    const all = unpacked(text, Float32Array);
    const made = new Player(
      { frames: count, shown: found.shown, factor: 1 },
      async (start, n) => all.subarray(start * tall * wide, (start + n) * tall * wide),
      { label },
    );
    return made;
  };
  const measured = player(found.frames_measured, found.measured, "Measured frame");
  const predicted = player(found.frames_predicted, total, "Predicted frame");
  const mark = h("p", { className: "mark", role: "status" });
  const slider = h("input", {
    type: "range",
    className: "long",
    min: 0,
    max: total - 1,
    value: 0,
    ariaLabel: "Time",
    oninput: () => show(Number(slider.value)),
  });
  const errors = new Chart({
    label: "Error of the frames against time",
    height: 230,
    onPick: ({ x }) => show(nearest(found.times, x)),
  });
  const blank = h("div", { className: "blank", hidden: true }, "nothing was measured here");
  let playing = false;
  const play = h(
    "button",
    {
      type: "button",
      onclick: () => {
        playing = !playing;
        play.textContent = playing ? "Pause" : "Play";
        if (playing) step();
      },
    },
    "Play",
  );
  const step = () => {
    if (!playing || !slider.isConnected) return;
    show((Number(slider.value) + 1) % total);
    setTimeout(step, 120);
  };
  async function show(i) {
    slider.value = i;
    store.set({ fitted: { ...names, frame: i } });
    const beyond = i >= found.measured;
    mark.textContent = `t = ${number(found.times[i])}: ${beyond ? "extrapolated, beyond the data" : "measured and predicted"}`;
    mark.classList.toggle("beyond", beyond);
    blank.hidden = !beyond;
    measured.canvas.hidden = beyond;
    if (!beyond) await measured.show(i);
    predicted.range ??= measured.range;
    await predicted.show(i);
    drawErrors(errors, found, i);
  }
  predicted.range = null;
  show(0) // measured, so that both have its range
    .then(() => predicted.set({ range: measured.range }))
    .then(() => first > 0 && first < total && show(first))
    .catch(tell);
  const coefficients = new Chart({
    label: "The learned term with its standard errors",
    height: 230,
  });
  store.on(["theme"], () => {
    drawErrors(errors, found, Number(slider.value));
    if (found.profile) drawProfile(coefficients, found.profile);
    else drawTerm(coefficients, found.term);
  });
  return [
    panel(
      "Measured and predicted",
      { id: "beside" },
      h("p", { className: "formula" }, found.formula),
      h(
        "div",
        { className: "two" },
        h("figure", {}, measured.canvas, blank, h("figcaption", {}, "measured")),
        h("figure", {}, predicted.canvas, h("figcaption", {}, "predicted")),
      ),
      slider,
      h("div", { className: "row" }, play, mark),
      found.stopped ? h("p", { className: "note" }, found.stopped) : null,
    ),
    h(
      "div",
      { className: "grid even" },
      panel("Error of the frames", { id: "errors" }, errors.element),
      panel("The learned term", { id: "term" }, coefficients.element),
      panel("Goodness of fit by ring and frame", { id: "goodness", className: "wide" }, goodness(found)),
    ),
  ];
}

const nearest = (times, x) =>
  times.reduce((best, t, i) => (Math.abs(t - x) < Math.abs(times[best] - x) ? i : best), 0);

function drawErrors(chart, found, at) {
  const { times, frame_error: error, photon_noise: noise } = found;
  const known = times.slice(0, error.length);
  const top = 1.15 * Math.max(...error, ...noise, 1e-9);
  const end = known.at(-1);
  chart.draw({
    x: { label: "t", domain: [times[0], times.at(-1)] },
    y: { label: "Relative error of √I", domain: [0, top] },
    layers: [
      { kind: "area", className: "imaginary", x: [end, times.at(-1)], y: [0, 0], y2: [top, top], opacity: 1 },
      { x: known, y: error, colour: ofNumber(0), width: 2 },
      { x: known, y: noise, className: "at", dash: "4 3" },
      { x: [times[at], times[at]], y: [0, top], className: "at", width: 1.4 },
    ],
    read: (value) => {
      const i = nearest(times, value);
      const lines = [["t", number(times[i])]];
      if (i < error.length)
        lines.push(["error", number(error[i], 3), ofNumber(0)], ["photons alone", number(noise[i], 3)]);
      else lines.push(["extrapolated", ""]);
      return { lines };
    },
  });
}

/** The term as curves, each in its band of one standard error. */
function drawProfile(chart, { x, label, curves }) {
  const ends = curves.flatMap(({ y, error }) =>
    y.flatMap((v, i) => [v - (error[i] ?? 0), v + (error[i] ?? 0)]),
  );
  const finite = ends.filter(Number.isFinite);
  const [low, high] = [Math.min(0, ...finite), Math.max(0, ...finite)];
  const room = 0.08 * (high - low || 1);
  const band = ({ y, error }, n) => ({
    kind: "area",
    x,
    y: y.map((v, i) => v - (error[i] ?? 0)),
    y2: y.map((v, i) => v + (error[i] ?? 0)),
    colour: ofNumber(n),
    opacity: 0.25,
  });
  chart.draw({
    x: { label, domain: [x[0], x.at(-1)] },
    y: { label: curves.map(({ name }) => name).join(", "), domain: [low - room, high + room] },
    layers: [
      { x: [x[0], x.at(-1)], y: [0, 0], className: "at", width: 1 },
      ...curves.map(band),
      ...curves.map(({ y }, n) => ({ x, y, colour: ofNumber(n), width: 2 })),
    ],
    read: (at) => {
      const i = nearest(x, at);
      const rows = curves.map(({ name, y, error }, n) => [
        name,
        withError(y[i], error[i]),
        ofNumber(n),
      ]);
      return {
        lines: [[label, number(x[i], 3)], ...rows],
        dots: curves.map(({ y }, n) => ({ x: x[i], y: y[i], colour: ofNumber(n) })),
      };
    },
  });
}

function drawTerm(chart, term) {
  const reach = term.map(({ value, error }) => [value - (error ?? 0), value + (error ?? 0)]).flat();
  const [low, high] = [Math.min(0, ...reach), Math.max(0, ...reach)];
  const room = 0.08 * (high - low || 1);
  const x = term.map((_, i) => i + 1);
  chart.draw({
    x: { label: "Coefficient", domain: [0.5, term.length + 0.5] },
    y: { label: "Value ± standard error", domain: [low - room, high + room] },
    layers: [
      { x: [0, term.length + 1], y: [0, 0], className: "at", width: 1 },
      {
        kind: "points",
        x,
        y: term.map(({ value }) => value),
        error: term.map(({ error }) => error ?? 0),
        colour: ofNumber(0),
        r: 3.5,
      },
    ],
    read: (at) => {
      const one = term[Math.min(term.length - 1, Math.max(0, Math.round(at) - 1))];
      return { lines: [[one.name, withError(one.value, one.error)]] };
    },
  });
}

/** A map of rings and frames: what is left over what photons alone would make. */
function goodness(found) {
  return [verdict(found), residuals(found)];
}

/** What its own fit says, of the frames that it was fitted to. */
function verdict({ verdict: lines, rings }) {
  if (!lines.length) return null;
  const worst = rings.filter(({ p }) => p < 1e-3).map(({ where, z }) => `${where} (z = ${number(z, 3)})`);
  return h(
    "ul",
    { className: "warnings", ariaLabel: "What the fit says" },
    lines.map((line) => h("li", {}, sentence(line))),
    worst.length > 0 && h("li", {}, `Rings that do not fit, by |q|: ${worst.join(", ")}.`),
  );
}

function residuals(found) {
  const rows = found.goodness;
  const top = Math.max(...rows.flat(), found.photons ? 2 : 1e-12);
  const table = h(
    "table",
    { className: "goodness" },
    h(
      "caption",
      {},
      found.photons
        ? "Mean squared residual over the photons' own, by ring (rows, from the middle) and frame: 1 where the system is right"
        : "Squared residual over the mean square, by ring (rows, from the middle) and frame",
    ),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col" }, "t"),
        rows[0].map((_, i) => h("th", { scope: "col" }, number(found.times[i], 3))),
      ),
    ),
    h(
      "tbody",
      {},
      rows.map((row, n) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, `ring ${n + 1}`),
          row.map((value) => cell(value, top)),
        ),
      ),
    ),
  );
  return h("div", { className: "scroll", tabIndex: 0, role: "group", ariaLabel: "Goodness of fit" }, table);
}

function cell(value, top) {
  const k = 3 * Math.min(255, Math.round((255 * (value ?? 0)) / top));
  const box = h("td", {}, number(value, 2));
  const ground = joined([...VIRIDIS.subarray(k, k + 3)]);
  box.style.background = ground;
  box.style.color = ["#000000", "#ffffff"].reduce((a, b) =>
    contrast(b, ground) > contrast(a, ground) ? b : a,
  );
  return box;
}
