// The view of crystals: what is open, and all that is shown of the one that is looked at.

import { post, wasCancelled } from "./api.js";
import { cellPanel } from "./cellpanel.js";
import { h, tell } from "./dom.js";
import { openingPanel } from "./opening.js";
import { spectraPanel } from "./spectra.js";
import { thermoPanel } from "./thermo.js";
import { trustPanel } from "./trust.js";
import { formula, number, UNITS } from "./units.js";

const FIRST = { items: [], current: null, item: null, bands: null, mode: null, moving: null, partial: "element", hidden: new Set(), overlay: [], measured: null, T: 300, cells: 1 };

export async function view(store) {
  const about = store.get("about");
  if (!store.get("items")) store.set({ ...FIRST });
  const opened = (specs) => open(store, specs);
  const title = h("h2", { className: "title", id: "title" });
  const means = h("p", { className: "means" });
  const shown = h("div", { className: "shown", hidden: true },
    h("div", { className: "heading" }, title, means),
    h("div", { className: "grid" }, cellPanel(store, about), spectraPanel(store), thermoPanel(store, about), trustPanel(store, about)));
  const empty = h("div", { className: "empty" }, h("p", {}, "Open a crystal to see how it vibrates: its density of states with an error band, its bands, and each mode as it moves."));
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
  return h("div", { className: "crystals" }, h("aside", {}, openingPanel(about, opened, () => {})), h("div", { className: "stage" }, empty, shown));
}

/** Open structures, and look at the first of them. */
export async function open(store, specs) {
  let first = null;
  for (const spec of specs) {
    try {
      const { structures } = await post("/api/predict", { item: spec }, { about: `predicting ${spec.name ?? spec.example ?? "an alloy"}` });
      for (const record of structures) {
        if (record.error) tell(record.error);
        else first ??= add(store, { ...spec, index: record.index }, record);
      }
    } catch (error) {
      if (!wasCancelled(error)) tell(error);
    }
  }
  if (first) await look(store, first);
}

function add(store, spec, record) {
  const entry = { id: crypto.randomUUID(), spec, record };
  store.set({ items: [...store.get("items"), entry] });
  return entry;
}

/** Look at one of the open structures; its bands follow. */
export async function look(store, entry) {
  store.set({ current: entry.record, item: entry.spec, bands: null, mode: null, moving: null });
  try {
    const bands = await post("/api/bands", { item: entry.spec }, { about: "bands" });
    if (store.get("item") === entry.spec) store.set({ bands });
  } catch (error) {
    if (!wasCancelled(error)) tell(error);
  }
}
