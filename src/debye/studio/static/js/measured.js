// A measured spectrum: laid over the structure looked at, and the open ones ranked by it.

import { post, wasCancelled } from "./api.js";
import { h, panel, tell } from "./dom.js";
import { formula, number } from "./units.js";
import { sentence } from "./trust.js";

export function measuredPanel(store, look) {
  const chooser = h("input", {
    type: "file",
    id: "measured-file",
    className: "unseen",
    onchange: async () => {
      const [file] = chooser.files;
      if (file) take({ name: file.name, text: await file.text() });
      chooser.value = "";
    },
  });
  const unit = h(
    "select",
    { ariaLabel: "Unit of its energies", onchange: () => given && take(given) },
    [
      ["", "unit from its header"],
      ["meV", "meV"],
      ["THz", "THz"],
      ["cm-1", "cm⁻¹"],
    ].map(([value, label]) => h("option", { value }, label)),
  );
  const list = h("ol", { className: "ranking", ariaLabel: "Candidates, the likeliest first" });
  const notes = h("p", { className: "note", hidden: true });
  const off = h(
    "button",
    {
      type: "button",
      hidden: true,
      onclick: () => {
        given = null;
        store.set({ measured: null, spectrum: null });
      },
    },
    "Take off",
  );
  let given = null;
  let asked = "";
  const element = panel(
    "Measured spectrum",
    { id: "measured", tools: off },
    h(
      "div",
      { className: "row" },
      h("label", { className: "button", htmlFor: "measured-file" }, "Choose a spectrum"),
      chooser,
      unit,
    ),
    h(
      "p",
      { className: "facts" },
      "Two or three columns: energy, intensity, error. It is laid over the density of states, and the open structures are ranked by how likely they make it.",
    ),
    list,
    notes,
  );

  const take = async (file) => {
    given = file;
    store.set({ spectrum: { ...file, unit: unit.value || null } });
    await rank();
  };
  const rank = async () => {
    const { items } = store.values;
    if (!given || !items.length) return;
    asked = items.map(({ id }) => id).join();
    const mine = asked;
    try {
      const measured = { name: given.name, text: given.text, unit: unit.value || null };
      const found = await post(
        "/api/rank",
        { measured, items: items.map(({ spec }) => spec) },
        { about: "ranking the open structures" },
      );
      if (mine === asked) store.set({ measured: laid(found, items) });
    } catch (error) {
      if (!wasCancelled(error)) tell(error);
    }
  };
  store.on(["measured", "current"], ({ measured, current }) => {
    off.hidden = !measured;
    notes.hidden = !measured?.notes.length;
    notes.textContent = (measured?.notes ?? []).map(sentence).join(" ");
    list.replaceChildren(
      ...(measured?.candidates ?? []).map((candidate) => {
        const bar = h("meter", {
          min: 0,
          max: 1,
          value: candidate.probability,
          ariaLabel: `Probability of ${candidate.formula}`,
        });
        const name = h(
          "button",
          { type: "button", className: "plain link", onclick: () => look(store, candidate.entry) },
          formula(candidate.formula),
        );
        return h(
          "li",
          { className: candidate.entry.record === current ? "current" : "" },
          name,
          bar,
          h("span", {}, `${number(100 * candidate.probability, 3)} %, misfit ${number(candidate.misfit, 3)}`),
        );
      }),
    );
  });
  store.on(["items"], ({ items }) => {
    if (given && items.map(({ id }) => id).join() !== asked) rank();
  });
  element.take = take;
  return element;
}

/** What was found, with what it is laid on. */
function laid(found, items) {
  const candidates = found.candidates.map((candidate) => ({ ...candidate, entry: items[candidate.item] }));
  return {
    ...found,
    candidates,
    fit: true,
    density(current) {
      const mine = candidates.find(({ entry }) => entry.record === current);
      return mine?.states.length ? mine.states : found.frequency.map(() => NaN);
    },
  };
}
