// The view of crystals: what is open, and all that is shown of the one that is looked at.

import { post, wasCancelled } from "./api.js";
import { alloyPanel } from "./alloy.js";
import { pick } from "./bands.js";
import { cellPanel } from "./cellpanel.js";
import { h, newId, tell } from "./dom.js";
import { exportPanel } from "./exports.js";
import { measuredPanel } from "./measured.js";
import { openingPanel } from "./opening.js";
import { spectraPanel } from "./spectra.js";
import { tablePanel } from "./table.js";
import { thermoPanel } from "./thermo.js";
import { trustPanel } from "./trust.js";
import { formula, number, UNITS } from "./units.js";

const FIRST = {
  items: [],
  current: null,
  item: null,
  bands: null,
  mode: null,
  moving: null,
  partial: "element",
  hidden: new Set(),
  overlay: [],
  measured: null,
  spectrum: null,
  order: null,
  T: 300,
  cells: 1,
};

export async function view(store) {
  const about = store.get("about");
  if (!store.get("items")) store.set({ ...FIRST });
  const measured = measuredPanel(store, look);
  const [cell, motion] = cellPanel(store, about);
  const title = h("h2", { className: "title", id: "title" });
  const means = h("p", { className: "means" });
  const shown = h(
    "div",
    { className: "shown", hidden: true },
    h("div", { className: "heading" }, title, means),
    h(
      "div",
      { className: "grid" },
      cell,
      spectraPanel(store, motion),
      thermoPanel(store, about),
      trustPanel(store, about),
      h("div", { className: "column" }, measured, exportPanel(store)),
    ),
  );
  const names = about.examples.filter((name) => /\.(cif|vasp)$/.test(name));
  const empty = h(
    "div",
    { className: "empty" },
    h(
      "p",
      {},
      "Drop a crystal on this page to see how it vibrates: its density of states with an error band, its bands, and each mode as it moves.",
    ),
    h("p", {}, "Or begin with one of these:"),
    h(
      "div",
      { className: "row" },
      names.map((name) =>
        h(
          "button",
          { type: "button", onclick: () => open(store, [{ example: name }]) },
          name.replace(/\.\w+$/, "").replaceAll("_", " "),
        ),
      ),
    ),
  );
  store.on(["current", "unit"], (now) => {
    shown.hidden = !now.current;
    empty.hidden = Boolean(now.current);
    if (!now.current) return;
    const { label, factor } = UNITS[now.unit];
    title.textContent = formula(now.current.formula);
    const ends = now.current.mean_frequency_ends;
    const half = ends ? ` ± ${number((factor * (ends[1] - ends[0])) / 2, 2)}` : "";
    means.textContent = `${now.current.name && now.current.name !== now.current.formula ? `${now.current.name} · ` : ""}mean frequency ${number(now.current.mean_frequency * factor)}${half} ${label}`;
  });
  const aside = h(
    "aside",
    { ariaLabel: "What is open" },
    openingPanel(about, (specs) => open(store, specs), measured.take),
    tablePanel(store, look),
    alloyPanel(store, mixed),
  );
  const page = h("div", { className: "crystals" }, aside, h("div", { className: "stage" }, empty, shown));
  if (store.get("restoring")) queueMicrotask(() => restored(store, measured));
  else if (!store.get("items").length && about.files.length)
    queueMicrotask(() =>
      open(
        store,
        about.files.map((label, file) => ({ file, label })),
      ),
    );
  return page;
}

/** Open structures, and look at the first of them. */
export async function open(store, specs) {
  let first = null;
  for (const spec of specs) {
    try {
      const { structures } = await post(
        "/api/predict",
        { item: spec },
        { about: `predicting ${spec.name ?? spec.example ?? spec.label ?? "an alloy"}` },
      );
      for (const record of structures) {
        if (record.error) tell(record.error);
        else {
          const entry = add(store, { ...spec, index: record.index }, record);
          first ??= entry;
        }
      }
    } catch (error) {
      if (wasCancelled(error)) break;
      tell(error);
    }
  }
  if (first) await look(store, first);
}

function add(store, spec, record) {
  const entry = { id: newId(), spec, record };
  store.set({ items: [...store.get("items"), entry] });
  return entry;
}

/** An alloy takes the place of the last one of the same parents. */
async function mixed(store, spec, record) {
  const parents = JSON.stringify(spec.alloy);
  const items = store.get("items").filter((entry) => JSON.stringify(entry.spec.alloy) !== parents);
  const entry = { id: newId(), spec, record };
  store.set({ items: [...items, entry] });
  await look(store, entry);
}

/** Look at one of the open structures; its bands follow. */
export async function look(store, entry) {
  store.set({
    current: entry.record,
    item: entry.spec,
    bands: null,
    mode: null,
    moving: null,
    overlay: store.get("overlay").filter((record) => record !== entry.record),
  });
  if (!store.get("about").bands && !entry.record.given) return;
  try {
    const bands = await post("/api/bands", { item: entry.spec }, { about: "bands" });
    if (store.get("item") === entry.spec) store.set({ bands });
  } catch (error) {
    if (!wasCancelled(error)) tell(error);
  }
}

/** What a link holds is opened again, and looked at as it was. */
async function restored(store, measured) {
  const state = store.get("restoring");
  store.set({ restoring: null });
  for (const spec of state.items) {
    try {
      if (spec.file != null && store.get("about").files[spec.file] !== spec.label) {
        throw {
          what: `the link needs ${spec.label}`,
          why: "it was opened from a studio that was started with this file",
          fix: `debye studio ${spec.label}`,
        };
      }
      const { structures } = await post("/api/predict", { item: spec }, { about: "restoring the view" });
      const record = structures.find(({ index }) => index === (spec.index ?? 0));
      if (record && !record.error) add(store, spec, record);
    } catch (error) {
      tell(error);
    }
  }
  const items = store.get("items");
  const entry = items[state.current];
  if (!entry) return;
  for (const name of ["partial", "T", "cells", "unit"])
    if (state[name] != null) store.set({ [name]: state[name] });
  await look(store, entry);
  store.set({
    hidden: new Set(state.hidden),
    overlay: state.overlay.map((i) => items[i]?.record).filter(Boolean),
  });
  const { viewer } = document.querySelector("canvas.cell");
  if (state.camera) {
    Object.assign(viewer, { turn: state.camera.turn, zoom: state.camera.zoom });
    viewer.set(state.camera.options);
    for (const [name, box] of Object.entries(viewer.boxes ?? {})) box.checked = viewer.options[name];
  }
  if (state.mode) await pick(store, state.mode);
  if (state.spectrum) await measured.take(state.spectrum);
}
