// The open structures as a table: sorted by any column, overlaid, compared, closed.

import { download, h, panel } from "./dom.js";
import { UNITS, formula, interpolated, number } from "./units.js";

const COLUMNS = {
  name: { label: "Structure", of: (record) => record.formula, text: (value) => formula(value) },
  mean: {
    label: "⟨ω⟩",
    of: (record, now) => record.mean_frequency * UNITS[now.unit].factor,
    unit: (now) => UNITS[now.unit].label,
  },
  heat: {
    label: "C_V",
    of: (record, now) => interpolated(now.about.temperature, record.heat_capacity, now.T),
    unit: () => "J/(K·mol)",
  },
  error: {
    label: "error",
    of: (record, now) => record.expected_error && record.expected_error * UNITS[now.unit].factor,
    unit: (now) => UNITS[now.unit].label,
  },
};

export function tablePanel(store, look) {
  const head = h("tr");
  const body = h("tbody");
  const table = h(
    "table",
    { className: "open" },
    h("caption", { className: "unseen" }, "Open structures"),
    h("thead", {}, head),
    body,
  );
  const save = h(
    "button",
    {
      type: "button",
      onclick: () => download("structures.csv", new Blob([csv(store.values)], { type: "text/csv" })),
    },
    "CSV",
  );
  const element = panel(
    "Open structures",
    { id: "table", hidden: true, tools: save },
    h(
      "div",
      { className: "scroll", tabIndex: 0, role: "group", ariaLabel: "Table of the open structures" },
      table,
    ),
  );
  store.on(["items", "current", "unit", "T", "overlay", "order"], (now) => {
    element.hidden = now.items.length === 0;
    head.replaceChildren(
      h("th", { scope: "col" }, h("span", { className: "unseen" }, "Overlay")),
      ...Object.entries(COLUMNS).map(([key, column]) => heading(store, key, column)),
      h("th", { scope: "col" }, h("span", { className: "unseen" }, "Close")),
    );
    body.replaceChildren(...sorted(now).map((entry) => row(store, entry, look)));
  });
  return element;
}

function heading(store, key, { label, unit }) {
  const { order } = store.values;
  const mine = order?.by === key;
  const button = h(
    "button",
    {
      type: "button",
      className: "plain",
      onclick: () => store.set({ order: { by: key, up: mine ? !order.up : true } }),
    },
    label,
    unit ? h("small", {}, ` ${unit(store.values)}`) : null,
    mine ? (order.up ? " ▲" : " ▼") : "",
  );
  const cell = h("th", { scope: "col" }, button);
  if (mine) cell.setAttribute("aria-sort", order.up ? "ascending" : "descending");
  return cell;
}

export function sorted(now) {
  const { items, order } = now;
  if (!order) return items;
  const value = (entry) => COLUMNS[order.by].of(entry.record, now) ?? Infinity;
  return [...items].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    return (x < y ? -1 : x > y ? 1 : 0) * (order.up ? 1 : -1);
  });
}

function row(store, entry, look) {
  const now = store.values;
  const { record } = entry;
  const box = h("input", {
    type: "checkbox",
    ariaLabel: `Overlay ${record.formula}`,
    checked: now.overlay.includes(record),
    disabled: record === now.current,
    onchange: () =>
      store.set({
        overlay: box.checked
          ? [...store.get("overlay"), record]
          : store.get("overlay").filter((other) => other !== record),
      }),
  });
  const open = h(
    "button",
    {
      type: "button",
      className: "plain link",
      title: entry.record.source,
      onclick: () => look(store, entry),
    },
    formula(record.formula),
    record.warnings.length ? h("span", { className: "warned", title: record.warnings.join("\n") }, " ⚠") : "",
  );
  const close = h(
    "button",
    {
      type: "button",
      className: "plain",
      ariaLabel: `Close ${record.formula}`,
      onclick: () => closed(store, entry, look),
    },
    "×",
  );
  const line = h(
    "tr",
    { className: record === now.current ? "current" : "" },
    h("td", {}, box),
    h("th", { scope: "row" }, open),
    ["mean", "heat", "error"].map((key) => h("td", {}, number(COLUMNS[key].of(record, now)))),
    h("td", {}, close),
  );
  if (record === now.current) open.setAttribute("aria-current", "true");
  return line;
}

function closed(store, entry, look) {
  const items = store.get("items").filter((other) => other !== entry);
  store.set({ items, overlay: store.get("overlay").filter((record) => record !== entry.record) });
  if (entry.record !== store.get("current")) return;
  if (items.length) look(store, items[0]);
  else store.set({ current: null, item: null, bands: null, mode: null, moving: null });
}

function csv(now) {
  const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const lines = [
    [
      "formula",
      "source",
      `mean_frequency_${now.unit}`,
      `heat_capacity_J_per_K_per_mol_atoms_at_${now.T}_K`,
      `expected_error_${now.unit}`,
    ].join(),
  ];
  for (const { record } of sorted(now))
    lines.push(
      [
        quoted(record.formula),
        quoted(record.source),
        ...["mean", "heat", "error"].map((key) => COLUMNS[key].of(record, now) ?? ""),
      ].join(),
    );
  return `${lines.join("\n")}\n`;
}
