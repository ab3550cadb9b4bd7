// Files of what is looked at: numbers from debye itself, pictures as they are drawn.

import { post, wasCancelled } from "./api.js";
import { ground } from "./colours.js";
import { download, h, panel, tell } from "./dom.js";

const FILES = {
  "dos.csv": "Spectrum, CSV",
  "dos.json": "Spectrum, JSON",
  "thermo.csv": "Thermodynamics, CSV",
  "bands.csv": "Bands, CSV",
  "bands.json": "Bands, JSON",
  "band.yaml": "band.yaml with eigenvectors",
  "phonopy_params.yaml": "phonopy_params.yaml",
  "structure.cif": "Structure, CIF",
};
const LOOKS = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-width",
  "stroke-opacity",
  "opacity",
  "font-size",
  "font-family",
];

export function exportPanel(store) {
  const files = Object.entries(FILES).map(([what, label]) =>
    h("button", { type: "button", onclick: () => save(store, what) }, label),
  );
  const pictures = h(
    "select",
    { ariaLabel: "Picture", id: "picture" },
    [
      ["spectra", "Bands and density of states"],
      ["thermo", "Against temperature"],
      ["cell", "Cell"],
    ].map(([value, label]) => h("option", { value }, label)),
  );
  const drawn = ["SVG", "PNG"].map((kind) =>
    h(
      "button",
      { type: "button", onclick: () => picture(pictures.value, kind, store.get("current").formula) },
      kind,
    ),
  );
  return panel(
    "Take it with you",
    { id: "exports" },
    h("div", { className: "row" }, files),
    h("div", { className: "row" }, pictures, drawn),
  );
}

async function save(store, what) {
  const { item, unit, current } = store.values;
  try {
    download(
      `${current.formula}-${what}`,
      await post(`/api/export/${what}`, { item, unit }, { about: what, file: true }),
    );
  } catch (error) {
    if (!wasCancelled(error)) tell(error);
  }
}

async function picture(where, kind, name) {
  const canvas = document.querySelector(`#${where} canvas`);
  if (canvas) {
    if (kind === "SVG")
      return tell({ what: "the cell has no SVG", why: "it is painted point by point", fix: "take the PNG" });
    return canvas.toBlob((blob) => download(`${name}-cell.png`, blob));
  }
  const svg = joined([...document.querySelectorAll(`#${where} svg.chart`)]);
  const blob = new Blob([svg], { type: "image/svg+xml" });
  download(`${name}-${where}.${kind.toLowerCase()}`, kind === "SVG" ? blob : await painted(svg));
}

/** Charts side by side as one picture that needs no stylesheet. */
export function joined(charts) {
  let across = 0;
  const high = Math.max(...charts.map((chart) => chart.getBoundingClientRect().height));
  const parts = charts.map((chart) => {
    const group = `<g transform="translate(${across} 0)">${[...chart.children].map(plain).join("")}</g>`;
    across += chart.getBoundingClientRect().width;
    return group;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${across}" height="${high}" viewBox="0 0 ${across} ${high}"><rect width="100%" height="100%" fill="${ground()}"/>${parts.join("")}</svg>`;
}

/** An element with its looks written into it. */
function plain(element) {
  const copy = element.cloneNode(true);
  const pairs = [
    [element, copy],
    ...[...element.querySelectorAll("*")].map((from, i) => [from, copy.querySelectorAll("*")[i]]),
  ];
  for (const [from, to] of pairs) {
    const look = getComputedStyle(from);
    for (const name of LOOKS) to.setAttribute(name, look.getPropertyValue(name));
    if (look.strokeDasharray !== "none") to.setAttribute("stroke-dasharray", look.strokeDasharray);
    to.removeAttribute("class");
  }
  return new XMLSerializer().serializeToString(copy);
}

async function painted(svg) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = h("canvas", { width: 2 * image.width, height: 2 * image.height });
  const draw = canvas.getContext("2d");
  draw.scale(2, 2);
  draw.drawImage(image, 0, 0);
  return new Promise((done) => canvas.toBlob(done));
}
