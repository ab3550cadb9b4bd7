// g2 of each ring with its errors and its fit, and the relaxation time against q.

import { Chart } from "./chart.js";
import { ofNumber } from "./colours.js";
import { h, panel } from "./dom.js";
import { number, withError } from "./units.js";

const spread = (values, log) => {
  const finite = values.filter((v) => Number.isFinite(v) && (!log || v > 0));
  if (!finite.length) return log ? [0.1, 1] : [0, 1];
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  if (log) return [low / 1.3, high * 1.3];
  const room = 0.08 * (high - low || Math.abs(high) || 1);
  return [low - room, high + room];
};

export function g2Panel(store) {
  const chart = new Chart({ label: "g2 of each ring against delay, with errors and fits", height: 340 });
  const taus = new Chart({ label: "Relaxation time of each ring against q", height: 260 });
  const rings = h("div", { className: "legend", role: "group", ariaLabel: "Rings" });
  const body = h("tbody");
  const table = h(
    "table",
    { className: "open" },
    h("caption", { className: "unseen" }, "Fits"),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ["q", "contrast", "τ", "p"].map((name) => h("th", { scope: "col" }, name)),
      ),
    ),
    body,
  );
  const notes = h("ul", { className: "warnings", ariaLabel: "Notes" });
  const element = panel(
    "Correlation",
    { id: "g2", hidden: true },
    rings,
    h(
      "div",
      { className: "two" },
      chart.element,
      h(
        "div",
        { className: "column" },
        taus.element,
        h("div", { className: "scroll", tabIndex: 0, role: "group", ariaLabel: "Table of fits" }, table),
      ),
    ),
    notes,
  );
  store.on(["correlation", "ringsHidden", "theme"], ({ correlation, ringsHidden }) => {
    element.hidden = !correlation;
    if (!correlation) return;
    drawG2(chart, correlation, ringsHidden);
    drawTau(taus, correlation);
    rings.replaceChildren(...correlation.q.map((q, n) => ring(store, correlation, q, n, ringsHidden)));
    body.replaceChildren(...correlation.q.map((q, n) => row(correlation, q, n)));
    const said = [
      ...correlation.notes,
      ...(correlation.fit.notes ?? []),
      ...(correlation.fit.failed ? [correlation.fit.failed] : []),
    ];
    notes.replaceChildren(...said.map((line) => h("li", {}, line)));
  });
  return element;
}

const where = (correlation, q) => `${number(q, 3)} ${correlation.q_unit}`;

function ring(store, correlation, q, n, hidden) {
  const swatch = h("i", { className: "swatch" });
  swatch.style.background = ofNumber(n);
  const button = h(
    "button",
    {
      type: "button",
      className: "toggle",
      onclick: () => {
        const next = new Set(hidden);
        if (!next.delete(n)) next.add(n);
        store.set({ ringsHidden: next });
      },
    },
    swatch,
    where(correlation, q),
  );
  button.setAttribute("aria-pressed", String(!hidden.has(n)));
  return button;
}

function row(correlation, q, n) {
  const { fit } = correlation;
  const tau =
    fit.tau?.[n] == null
      ? "–"
      : `${withError(fit.tau[n], fit.tau_error[n])} ${correlation.delay_unit}`;
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, where(correlation, q)),
    h("td", {}, withError(correlation.contrast[n], correlation.contrast_error[n])),
    h("td", {}, tau),
    h("td", {}, number(fit.p_value?.[n], 2)),
  );
}

function drawG2(chart, correlation, hidden) {
  const { delay, g2, g2_error: error, fit, q, delay_unit: unit } = correlation;
  const layers = [];
  const shown = q.map((_, n) => n).filter((n) => !hidden.has(n));
  for (const n of shown) {
    layers.push({
      kind: "points",
      x: delay,
      y: g2[n].map((v) => v ?? NaN),
      error: error[n],
      colour: ofNumber(n),
      r: 2.6,
    });
    if (fit.curves?.[n]) layers.push({ x: fit.time, y: fit.curves[n], colour: ofNumber(n), width: 1.6 });
  }
  chart.draw({
    x: { label: `Delay (${unit})`, domain: spread(delay, true), log: true },
    y: { label: "g₂", domain: spread(shown.flatMap((n) => g2[n])) },
    layers,
    read: (value) => {
      const i = delay.reduce(
        (best, t, k) => (Math.abs(Math.log(t / value)) < Math.abs(Math.log(delay[best] / value)) ? k : best),
        0,
      );
      return {
        lines: [
          ["delay", `${number(delay[i])} ${unit}`],
          ...shown
            .slice(0, 10)
            .map((n) => [
              where(correlation, q[n]),
              withError(g2[n][i], error[n][i]),
              ofNumber(n),
            ]),
        ],
        dots: shown
          .map((n) => ({ x: delay[i], y: g2[n][i], colour: ofNumber(n) }))
          .filter(({ y }) => Number.isFinite(y)),
      };
    },
  });
}

function drawTau(chart, correlation) {
  const { q, q_unit: unit, fit, delay_unit: time } = correlation;
  const points = q
    .map((x, n) => [x, fit.tau?.[n], fit.tau_error?.[n], n])
    .filter(([x, tau]) => x > 0 && tau > 0);
  chart.draw({
    x: {
      label: `q (${unit})`,
      domain: spread(
        points.map(([x]) => x),
        true,
      ),
      log: true,
      ticks: points.map(([x]) => [x, number(x, 2)]),
    },
    y: {
      label: `τ (${time})`,
      domain: spread(
        points.flatMap(([, tau, error]) => [tau, tau + error, Math.max(tau - error, tau / 3)]),
        true,
      ),
      log: true,
    },
    layers: points.map(([x, tau, error, n]) => ({
      kind: "points",
      x: [x],
      y: [tau],
      error: [Math.min(error, 0.9 * tau)],
      colour: ofNumber(n),
      r: 4,
    })),
    read: (at) => {
      const near = points.reduce(
        (a, b) => (Math.abs(Math.log(b[0] / at)) < Math.abs(Math.log(a[0] / at)) ? b : a),
        points[0],
      );
      return (
        near && {
          lines: [
            ["q", where(correlation, near[0])],
            ["τ", `${withError(near[1], near[2])} ${time}`],
          ],
          dots: [{ x: near[0], y: near[1] }],
        }
      );
    },
  });
}
