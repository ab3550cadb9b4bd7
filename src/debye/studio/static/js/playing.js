// The panel of frames: a stack that is played, its colours, its mask and its rings.

import { Chart } from "./chart.js";
import { h, panel } from "./dom.js";
import { limits, unpacked } from "./player.js";
import { sentence } from "./trust.js";
import { number } from "./units.js";

export function playerPanel(store, player) {
  const { stack } = store.values;
  const slider = h("input", {
    type: "range",
    min: 0,
    max: stack.frames - 1,
    value: 0,
    className: "long",
    ariaLabel: "Frame",
    oninput: () => player.show(Number(slider.value)).catch(tell),
  });
  const play = h(
    "button",
    {
      type: "button",
      id: "play",
      onclick: () => {
        player.play(!player.playing);
        play.textContent = player.playing ? "Pause" : "Play";
      },
    },
    "Play",
  );
  const rate = h(
    "select",
    { ariaLabel: "Frames per second", onchange: () => (player.rate = Number(rate.value)) },
    [5, 10, 20, 30, 60].map((n) => h("option", { value: n, selected: n === 20 }, `${n}/s`)),
  );
  const box = (label, on, change) => {
    const input = h("input", { type: "checkbox", checked: on, onchange: () => change(input.checked) });
    return h("label", {}, input, label);
  };
  const ends = ["Least", "Most"].map((name, i) =>
    h("input", {
      type: "number",
      step: "any",
      className: "short",
      ariaLabel: `${name} value of the colours`,
      onchange: () => {
        const range = [...player.range];
        range[i] = Number(ends[i].value);
        if (range[1] > range[0]) player.set({ range });
      },
    }),
  );
  const fit = h(
    "button",
    { type: "button", onclick: () => player.set({ range: limits(player.last) }).then(showEnds) },
    "Fit",
  );
  const showEnds = () =>
    ends.forEach((input, i) => (input.value = player.range ? Number(player.range[i].toPrecision(4)) : ""));
  const said = h("p", { className: "facts", role: "status" });
  const light = new Chart({
    label: "Mean intensity against the frame",
    height: 150,
    onPick: ({ x }) => player.show(x),
  });
  player.canvas.addEventListener("pointermove", (event) => {
    const at = player.canvas.getBoundingClientRect();
    const [x, y] = [
      Math.floor(((event.clientX - at.left) / at.width) * player.wide),
      Math.floor(((event.clientY - at.top) / at.height) * player.tall),
    ];
    const value = player.last?.[y * player.wide + x];
    if (value != null)
      said.textContent = `${frameText(stack, player.frame)}; pixel ${x * stack.factor}, ${y * stack.factor}: ${number(value)}`;
  });
  store.on(["frame", "correlation"], ({ frame, correlation }) => {
    slider.value = frame;
    said.textContent = frameText(stack, frame);
    if (document.activeElement !== ends[0] && document.activeElement !== ends[1]) showEnds();
    light.element.hidden = !correlation;
    if (correlation) drawLight(light, correlation, frame);
  });
  const facts =
    `${stack.frames} frames of ${stack.shape[1]} × ${stack.shape[0]} pixels` +
    (stack.factor > 1 ? `, ${stack.factor} × ${stack.factor} of them averaged to one that is shown` : "") +
    (stack.time_unit === "s" ? `, ${number(stack.interval)} s apart` : "");
  return panel(
    "Frames",
    { id: "player" },
    h("p", { className: "facts" }, facts),
    player.canvas,
    slider,
    h(
      "div",
      { className: "row" },
      play,
      rate,
      box("Log", true, (log) => player.set({ log })),
      box("Mask", true, (on) =>
        player.set({ mask: on ? (player.kept ?? unpacked(stack.mask, Uint8Array)) : null }),
      ),
      box("Rings", true, (on) => player.set({ overlay: on ? (player.rings ?? null) : null })),
    ),
    h("div", { className: "row" }, h("label", {}, "from ", ends[0]), h("label", {}, "to ", ends[1]), fit),
    said,
    light.element,
    stack.notes.map((note) => h("p", { className: "note" }, sentence(note))),
  );
}

const frameText = (stack, frame) =>
  `frame ${frame}${stack.time_unit === "s" ? `, ${number(frame * stack.interval)} s` : ""}`;

function drawLight(chart, { numbers, intensity }, frame) {
  const [low, high] = [Math.min(...intensity), Math.max(...intensity)];
  const room = 0.1 * (high - low || 1);
  chart.draw({
    x: { label: "Frame", domain: [numbers[0], numbers.at(-1)] },
    y: { label: "Intensity", domain: [low - room, high + room] },
    layers: [
      { x: numbers, y: intensity, className: "total", width: 1.3 },
      { x: [frame, frame], y: [low - room, high + room], className: "at", width: 1.4 },
    ],
    read: (at) => {
      const i = Math.max(
        0,
        numbers.findIndex((n) => n >= at),
      );
      return {
        lines: [
          ["frame", String(numbers[i])],
          ["mean", number(intensity[i])],
        ],
        dots: [{ x: numbers[i], y: intensity[i] }],
      };
    },
  });
}
