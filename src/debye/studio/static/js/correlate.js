// The panel of a correlation: what is asked, the two-time map, and the files.

import { post, wasCancelled } from "./api.js";
import { download, h, panel, tell } from "./dom.js";
import { unpacked } from "./player.js";

const MODELS = {
  stretched: "stretched exponential",
  single: "single exponential",
  double: "two exponentials",
  cumulants: "cumulants",
};

export function correlatePanel(store, player, map) {
  const { stack } = store.values;
  const field = (label, value, attributes = {}) =>
    h("input", {
      type: "number",
      step: "any",
      className: "short",
      ariaLabel: label,
      value: value ?? "",
      ...attributes,
    });
  const fields = {
    rings: field("Rings", 8, { min: 1, max: 64, step: 1 }),
    frame_time: field("Frame time in s", stack.frame_time, { min: 0 }),
    x: field("Centre x in pixels", stack.centre?.[0] == null ? "" : Number(stack.centre[0].toFixed(2))),
    y: field("Centre y in pixels", stack.centre?.[1] == null ? "" : Number(stack.centre[1].toFixed(2))),
    bin: field("Ring of the two-time map", 0, { min: 0, step: 1 }),
  };
  const model = h(
    "select",
    { ariaLabel: "Model of g2" },
    Object.entries(MODELS).map(([value, label]) => h("option", { value }, label)),
  );
  const find = h("input", { type: "checkbox" });
  const asked = () => {
    const value = (name) => (fields[name].value === "" ? null : Number(fields[name].value));
    const centre = value("x") == null || value("y") == null ? null : [value("x"), value("y")];
    return {
      rings: value("rings"),
      frame_time: value("frame_time"),
      centre,
      find_centre: find.checked,
      two_time: value("bin"),
      model: model.value,
    };
  };
  const run = async () => {
    const how = asked();
    try {
      const found = await post(`/api/stacks/${stack.id}/correlate`, how, { about: "correlating the frames" });
      player.rings = unpacked(found.labels, Uint16Array);
      player.kept = unpacked(found.mask, Uint8Array);
      await player.set({ overlay: player.rings, mask: player.kept });
      store.set({
        correlation: { ...found, how },
        ringsHidden: new Set(),
        speckle: { stack: stack.id, name: stack.name, how },
      });
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
  const files = h(
    "div",
    { className: "row", hidden: true },
    ["results.hdf", "g2.csv", "g2.json"].map((what) =>
      h("button", { type: "button", onclick: () => save(stack, what, store) }, what),
    ),
  );
  store.on(["correlation"], ({ correlation }) => (files.hidden = !correlation));
  return panel(
    "Correlate",
    { id: "correlate" },
    h(
      "form",
      {
        className: "form",
        onsubmit: (event) => {
          event.preventDefault();
          run();
        },
      },
      h(
        "div",
        { className: "row" },
        h("label", {}, "Rings ", fields.rings),
        h("label", {}, "Frame time (s) ", fields.frame_time),
        h("label", {}, "Two-time of ring ", fields.bin),
      ),
      h(
        "div",
        { className: "row" },
        h("label", {}, "Centre x ", fields.x),
        h("label", {}, "y ", fields.y),
        h("label", {}, find, "find it"),
      ),
      h(
        "div",
        { className: "row" },
        h("label", {}, "Fit ", model),
        h("button", { className: "button" }, "Correlate"),
      ),
    ),
    map.element,
    files,
  );
}

async function save(stack, what, store) {
  const { correlation } = store.values;
  try {
    if (what === "results.hdf")
      return download(
        `${stack.name}-results.hdf`,
        await post(`/api/stacks/${stack.id}/results`, correlation.how, {
          about: "the result file",
          file: true,
        }),
      );
    if (what === "g2.json")
      return download(
        `${stack.name}-g2.json`,
        new Blob(
          [JSON.stringify({ ...correlation, labels: undefined, mask: undefined, two_time: undefined })],
          { type: "application/json" },
        ),
      );
    const lines = [`q_${correlation.q_unit},delay_${correlation.delay_unit},g2,g2_error`];
    correlation.q.forEach((q, n) =>
      correlation.delay.forEach((t, k) =>
        lines.push([q, t, correlation.g2[n][k] ?? "", correlation.g2_error[n][k] ?? ""].join()),
      ),
    );
    download(`${stack.name}-g2.csv`, new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
  } catch (error) {
    if (!wasCancelled(error)) tell(error);
  }
}
