// The view of speckle: a stack is played, correlated, and its two-time map clicked.

import { get, post, upload, wasCancelled } from "./api.js";
import { Chart } from "./chart.js";
import { download, h, panel, tell } from "./dom.js";
import { g2Panel } from "./g2.js";
import { Player, limits, unpacked } from "./player.js";
import { TwoTimeMap } from "./twotime.js";
import { sentence } from "./trust.js";
import { number } from "./units.js";

const FIRST = { stack: null, correlation: null, ringsHidden: new Set(), frame: 0 };
const MODELS = { stretched: "stretched exponential", single: "single exponential", double: "two exponentials", cumulants: "cumulants" };

export async function view(store) {
  const about = store.get("about");
  store.set({ ...FIRST });
  const stage = h("div", { className: "stage" });
  const choice = h("select", { id: "stack", ariaLabel: "Stack of frames", onchange: () => choice.value !== "" && open(choice.value) },
    h("option", { value: "" }, about.stacks.length ? "Pick a stack…" : "None is open"), about.stacks.map((name, i) => h("option", { value: i }, name)));
  const chooser = h("input", { type: "file", id: "stack-file", className: "unseen", onchange: async () => {
    const [file] = chooser.files;
    chooser.value = "";
    if (!file) return;
    if (file.size > about.most_stack_bytes) return tell({ what: `${file.name} is too large to upload`, why: `it holds more than ${about.most_stack_bytes / 1e9} GB`, fix: `start the studio with its path: debye studio ${file.name}` });
    try {
      const { id } = await upload(`/api/stacks?name=${encodeURIComponent(file.name)}`, file, `sending ${file.name}`);
      choice.append(h("option", { value: id }, file.name));
      choice.value = id;
      await open(id);
    } catch (error) {
      if (!wasCancelled(error)) tell(error);
    }
  } });
  const open = async (id) => {
    try {
      const info = await get(`/api/stacks/${id}`);
      store.set({ ...FIRST, ringsHidden: new Set(), stack: { id, ...info } });
      stage.replaceChildren(...stackPanels(store));
    } catch (error) {
      tell(error);
    }
  };
  const empty = h("div", { className: "empty" }, h("p", {}, "Open a stack of frames, as a detector wrote them, to play it and to see how its speckle correlates: any file that debye correlate reads. Large ones are best named at the start: debye studio run_00012.h5"));
  stage.append(empty);
  const page = h("div", { className: "speckle" }, panel("Stack", { id: "stacks" }, h("div", { className: "row" }, choice, h("label", { className: "button", htmlFor: "stack-file" }, "Upload a stack"), chooser)), stage);
  const restoring = store.get("restoring")?.speckle;
  if (restoring) queueMicrotask(() => restored(store, open, restoring));
  else if (about.stacks.length) queueMicrotask(() => {
    choice.value = "0";
    open("0");
  });
  return page;
}

function stackPanels(store) {
  const { stack } = store.values;
  const player = new Player(stack, frames(stack), { onFrame: (frame) => store.set({ frame }) });
  player.mask = unpacked(stack.mask, Uint8Array);
  const map = new TwoTimeMap((frame) => player.show(frame));
  const panels = [h("div", { className: "grid even" }, playerPanel(store, player), correlatePanel(store, player, map)), g2Panel(store)];
  player.show(0).catch(tell);
  return panels;
}

/** Frames are fetched as bytes. */
const frames = (stack) => async (start, count) => {
  const response = await fetch(`/api/stacks/${stack.id}/frames?start=${start}&count=${count}`);
  if (!response.ok) throw (await response.json()).error;
  return new Float32Array(await response.arrayBuffer());
};

function playerPanel(store, player) {
  const { stack } = store.values;
  const slider = h("input", { type: "range", min: 0, max: stack.frames - 1, value: 0, className: "long", ariaLabel: "Frame", oninput: () => player.show(Number(slider.value)).catch(tell) });
  const play = h("button", { type: "button", id: "play", onclick: () => {
    player.play(!player.playing);
    play.textContent = player.playing ? "Pause" : "Play";
  } }, "Play");
  const rate = h("select", { ariaLabel: "Frames per second", onchange: () => (player.rate = Number(rate.value)) }, [5, 10, 20, 30, 60].map((n) => h("option", { value: n, selected: n === 20 }, `${n}/s`)));
  const box = (label, on, change) => {
    const input = h("input", { type: "checkbox", checked: on, onchange: () => change(input.checked) });
    return h("label", {}, input, label);
  };
  const ends = ["Least", "Most"].map((name, i) => h("input", { type: "number", step: "any", className: "short", ariaLabel: `${name} value of the colours`, onchange: () => {
    const range = [...player.range];
    range[i] = Number(ends[i].value);
    if (range[1] > range[0]) player.set({ range });
  } }));
  const fit = h("button", { type: "button", onclick: () => player.set({ range: limits(player.last) }).then(showEnds) }, "Fit");
  const showEnds = () => ends.forEach((input, i) => (input.value = player.range ? Number(player.range[i].toPrecision(4)) : ""));
  const said = h("p", { className: "facts", role: "status" });
  const light = new Chart({ label: "Mean intensity against the frame", height: 150, onPick: ({ x }) => player.show(x) });
  player.canvas.addEventListener("pointermove", (event) => {
    const at = player.canvas.getBoundingClientRect();
    const [x, y] = [Math.floor(((event.clientX - at.left) / at.width) * player.wide), Math.floor(((event.clientY - at.top) / at.height) * player.tall)];
    const value = player.last?.[y * player.wide + x];
    if (value != null) said.textContent = `${frameText(stack, player.frame)}; pixel ${x * stack.factor}, ${y * stack.factor}: ${number(value)}`;
  });
  store.on(["frame", "correlation"], ({ frame, correlation }) => {
    slider.value = frame;
    said.textContent = frameText(stack, frame);
    if (document.activeElement !== ends[0] && document.activeElement !== ends[1]) showEnds();
    light.element.hidden = !correlation;
    if (correlation) drawLight(light, correlation, frame);
  });
  const facts = `${stack.frames} frames of ${stack.shape[1]} × ${stack.shape[0]} pixels`
    + (stack.factor > 1 ? `, ${stack.factor} × ${stack.factor} of them averaged to one that is shown` : "") + (stack.time_unit === "s" ? `, ${number(stack.interval)} s apart` : "");
  return panel("Frames", { id: "player" }, h("p", { className: "facts" }, facts), player.canvas, slider,
    h("div", { className: "row" }, play, rate, box("Log", true, (log) => player.set({ log })), box("Mask", true, (on) => player.set({ mask: on ? player.kept ?? unpacked(stack.mask, Uint8Array) : null })), box("Rings", true, (on) => player.set({ overlay: on ? player.rings ?? null : null }))),
    h("div", { className: "row" }, h("label", {}, "from ", ends[0]), h("label", {}, "to ", ends[1]), fit), said, light.element,
    stack.notes.map((note) => h("p", { className: "note" }, sentence(note))));
}

const frameText = (stack, frame) => `frame ${frame}${stack.time_unit === "s" ? `, ${number(frame * stack.interval)} s` : ""}`;

function drawLight(chart, { numbers, intensity }, frame) {
  const [low, high] = [Math.min(...intensity), Math.max(...intensity)];
  const room = 0.1 * (high - low || 1);
  chart.draw({
    x: { label: "Frame", domain: [numbers[0], numbers.at(-1)] },
    y: { label: "Intensity", domain: [low - room, high + room] },
    layers: [{ x: numbers, y: intensity, className: "total", width: 1.3 }, { x: [frame, frame], y: [low - room, high + room], className: "at", width: 1.4 }],
    read: (at) => {
      const i = Math.max(0, numbers.findIndex((n) => n >= at));
      return { lines: [["frame", String(numbers[i])], ["mean", number(intensity[i])]], dots: [{ x: numbers[i], y: intensity[i] }] };
    },
  });
}

function correlatePanel(store, player, map) {
  const { stack } = store.values;
  const field = (label, value, attributes = {}) => h("input", { type: "number", step: "any", className: "short", ariaLabel: label, value: value ?? "", ...attributes });
  const fields = {
    rings: field("Rings", 8, { min: 1, max: 64, step: 1 }),
    frame_time: field("Frame time in s", stack.frame_time, { min: 0 }),
    x: field("Centre x in pixels", stack.centre?.[0] == null ? "" : Number(stack.centre[0].toFixed(2))),
    y: field("Centre y in pixels", stack.centre?.[1] == null ? "" : Number(stack.centre[1].toFixed(2))),
    bin: field("Ring of the two-time map", 0, { min: 0, step: 1 }),
  };
  const model = h("select", { ariaLabel: "Model of g2" }, Object.entries(MODELS).map(([value, label]) => h("option", { value }, label)));
  const find = h("input", { type: "checkbox" });
  const asked = () => {
    const value = (name) => (fields[name].value === "" ? null : Number(fields[name].value));
    const centre = value("x") == null || value("y") == null ? null : [value("x"), value("y")];
    return { rings: value("rings"), frame_time: value("frame_time"), centre, find_centre: find.checked, two_time: value("bin"), model: model.value };
  };
  const run = async () => {
    const how = asked();
    try {
      const found = await post(`/api/stacks/${stack.id}/correlate`, how, { about: "correlating the frames" });
      player.rings = unpacked(found.labels, Uint16Array);
      player.kept = unpacked(found.mask, Uint8Array);
      await player.set({ overlay: player.rings, mask: player.kept });
      store.set({ correlation: { ...found, how }, ringsHidden: new Set(), speckle: { stack: stack.id, how } });
      map.element.hidden = !found.two_time;
      if (found.two_time) map.show(found.two_time);
    } catch (error) {
      if (!wasCancelled(error)) tell(error);
    }
  };
  store.correlateAs = async (how) => {
    for (const name of ["rings", "frame_time"]) fields[name].value = how[name] ?? "";
    [fields.x.value, fields.y.value] = how.centre ?? ["", ""];
    [fields.bin.value, model.value, find.checked] = [how.two_time ?? "", how.model, how.find_centre];
    await run();
  };
  map.element.hidden = true;
  const files = h("div", { className: "row", hidden: true }, ["results.hdf", "g2.csv", "g2.json"].map((what) => h("button", { type: "button", onclick: () => save(stack, what, store) }, what)));
  store.on(["correlation"], ({ correlation }) => (files.hidden = !correlation));
  return panel("Correlate", { id: "correlate" }, h("form", { className: "form", onsubmit: (event) => {
    event.preventDefault();
    run();
  } }, h("div", { className: "row" }, h("label", {}, "Rings ", fields.rings), h("label", {}, "Frame time (s) ", fields.frame_time), h("label", {}, "Two-time of ring ", fields.bin)),
  h("div", { className: "row" }, h("label", {}, "Centre x ", fields.x), h("label", {}, "y ", fields.y), h("label", {}, find, "find it")),
  h("div", { className: "row" }, h("label", {}, "Fit ", model), h("button", { className: "button" }, "Correlate"))), map.element, files);
}

async function save(stack, what, store) {
  const { correlation } = store.values;
  try {
    if (what === "results.hdf") return download(`${stack.name}-results.hdf`, await post(`/api/stacks/${stack.id}/results`, correlation.how, { about: "the result file", file: true }));
    if (what === "g2.json") return download(`${stack.name}-g2.json`, new Blob([JSON.stringify({ ...correlation, labels: undefined, mask: undefined, two_time: undefined })], { type: "application/json" }));
    const lines = [`q_${correlation.q_unit},delay_${correlation.delay_unit},g2,g2_error`];
    correlation.q.forEach((q, n) => correlation.delay.forEach((t, k) => lines.push([q, t, correlation.g2[n][k] ?? "", correlation.g2_error[n][k] ?? ""].join())));
    download(`${stack.name}-g2.csv`, new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
  } catch (error) {
    if (!wasCancelled(error)) tell(error);
  }
}

async function restored(store, open, { stack, how }) {
  await open(stack);
  if (store.get("stack")) await store.correlateAs(how);
}
