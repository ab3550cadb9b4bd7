// How structures come in: dropped, pasted, chosen, or from the examples.

import { tell, h, panel } from "./dom.js";

/** The text of a file, unpacked where it is gzip. */
async function textOf(file, most) {
  if (file.size > most)
    throw {
      what: `${file.name} is too large`,
      why: `it holds more than ${most / 1e6} MB`,
      fix: "give a smaller file, or start the studio with its path",
    };
  const packed = /\.gz$/i.test(file.name);
  const stream = packed ? file.stream().pipeThrough(new DecompressionStream("gzip")) : file.stream();
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const text = new TextDecoder("utf-8").decode(bytes);
  if (
    bytes.subarray(0, 4096).some((b) => b === 0) ||
    /^\x80|^\x93NUMPY/.test(String.fromCharCode(...bytes.subarray(0, 8)))
  ) {
    throw {
      what: `cannot use ${file.name}`,
      why: "it is binary, not text",
      fix: "give a CIF, POSCAR, extxyz or another text",
    };
  }
  return { name: packed ? file.name.replace(/\.gz$/i, "") : file.name, text };
}

export function openingPanel(about, open, openMeasured) {
  const chooser = h("input", {
    type: "file",
    multiple: true,
    id: "chooser",
    className: "unseen",
    onchange: () => take(chooser.files),
  });
  const text = h("textarea", {
    rows: 4,
    ariaLabel: "Text of a structure",
    placeholder: "Paste a CIF, POSCAR or extxyz here",
    spellcheck: false,
  });
  const zone = h(
    "div",
    { className: "drop", id: "drop" },
    h(
      "p",
      {},
      h("strong", {}, "Drop structures here"),
      h("br"),
      "CIF, POSCAR, extxyz, phonopy, many at once",
    ),
    h("label", { className: "button", htmlFor: "chooser" }, "Choose files"),
    chooser,
  );
  const examples = h(
    "select",
    {
      ariaLabel: "Examples",
      id: "example",
      onchange: () => {
        if (examples.value) open([{ example: examples.value }]);
        examples.value = "";
      },
    },
    h("option", { value: "" }, "Pick an example…"),
    about.examples.map((name) => h("option", { value: name }, name)),
  );

  const take = async (files) => {
    const found = [];
    for (const file of files) {
      try {
        const read = await textOf(file, about.most_bytes);
        if (/\.(dat|txt|csv|xye)$/i.test(read.name)) openMeasured(read);
        else found.push(read);
      } catch (error) {
        tell(error);
      }
    }
    chooser.value = "";
    if (found.length) open(found);
  };
  const stop = (event) => {
    event.preventDefault();
    zone.classList.toggle("over", event.type === "dragover");
  };
  for (const name of ["dragover", "dragleave", "drop"]) addEventListener(name, stop);
  addEventListener("drop", (event) => take(event.dataTransfer.files));
  const pasted = h(
    "button",
    {
      type: "button",
      onclick: () => {
        if (text.value.trim()) open([{ name: "pasted", text: text.value }]);
      },
    },
    "Open text",
  );
  return panel(
    "Open",
    { id: "opening" },
    zone,
    h("div", { className: "row" }, examples),
    h("details", {}, h("summary", {}, "Paste text"), text, pasted),
  );
}
