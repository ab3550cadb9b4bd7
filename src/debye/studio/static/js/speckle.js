// The view of speckle: a stack is played, correlated, and its two-time map clicked.

import { get, upload, wasCancelled } from "./api.js";
import { correlatePanel } from "./correlate.js";
import { h, panel, tell } from "./dom.js";
import { g2Panel } from "./g2.js";
import { Player, unpacked } from "./player.js";
import { playerPanel } from "./playing.js";
import { TwoTimeMap } from "./twotime.js";

const FIRST = { stack: null, correlation: null, ringsHidden: new Set(), frame: 0 };

export async function view(store) {
  const about = store.get("about");
  store.set({ ...FIRST });
  const stage = h("div", { className: "stage" });
  const choice = h(
    "select",
    { id: "stack", ariaLabel: "Stack of frames", onchange: () => choice.value !== "" && open(choice.value) },
    h("option", { value: "" }, about.stacks.length ? "Pick a stack…" : "None is open"),
    about.stacks.map((name, i) => h("option", { value: i }, name)),
  );
  const chooser = h("input", {
    type: "file",
    id: "stack-file",
    className: "unseen",
    onchange: async () => {
      const [file] = chooser.files;
      chooser.value = "";
      if (!file) return;
      if (file.size > about.most_stack_bytes)
        return tell({
          what: `${file.name} is too large to upload`,
          why: `it holds more than ${about.most_stack_bytes / 1e9} GB`,
          fix: `start the studio with its path: debye studio ${file.name}`,
        });
      try {
        const { id } = await upload(
          `/api/stacks?name=${encodeURIComponent(file.name)}`,
          file,
          `sending ${file.name}`,
        );
        choice.append(h("option", { value: id }, file.name)); // kept by the server, for a while
        choice.value = id;
        await open(id);
      } catch (error) {
        if (!wasCancelled(error)) tell(error);
      }
    },
  });
  const open = async (id) => {
    try {
      const info = await get(`/api/stacks/${id}`);
      store.set({ ...FIRST, ringsHidden: new Set(), stack: { id, ...info } });
      stage.replaceChildren(...stackPanels(store));
    } catch (error) {
      tell(error);
    }
  };
  const empty = h(
    "div",
    { className: "empty" },
    h(
      "p",
      {},
      "Open a stack of frames, as a detector wrote them, to play it and to see how its speckle correlates: any file that debye correlate reads. Large ones are best named at the start: debye studio run_00012.h5",
    ),
  );
  stage.append(empty);
  const page = h(
    "div",
    { className: "speckle" },
    panel(
      "Stack",
      { id: "stacks" },
      h(
        "div",
        { className: "row" },
        choice,
        h("label", { className: "button", htmlFor: "stack-file" }, "Upload a stack"),
        chooser,
      ),
    ),
    stage,
  );
  const restoring = store.get("restoring")?.speckle;
  if (restoring) queueMicrotask(() => restored(store, open, restoring));
  else if (about.stacks.length)
    queueMicrotask(() => {
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
  const panels = [
    h("div", { className: "grid even" }, playerPanel(store, player), correlatePanel(store, player, map)),
    g2Panel(store),
  ];
  player.show(0).catch(tell);
  return panels;
}

/** Frames are fetched as bytes. */
const frames = (stack) => async (start, count) => {
  const response = await fetch(`/api/stacks/${stack.id}/frames?start=${start}&count=${count}`);
  if (!response.ok) throw (await response.json()).error;
  return new Float32Array(await response.arrayBuffer());
};

async function restored(store, open, { stack, name, how }) {
  await open(stack);
  if (store.get("stack")?.name !== name)
    return tell({
      what: `the link needs ${name}`,
      why: "this studio was started with another stack",
      fix: `debye studio ${name}`,
    });
  if (store.get("stack")) await store.correlateAs(how);
}
