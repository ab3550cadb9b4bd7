// Elements of the page, made without HTML: what files are called and hold is text, always.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value == null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !(element instanceof SVGElement) && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child != null && child !== false));
  return element;
}

/** An element of the page: h("p", {className: "note"}, "text", …). */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** An element of a picture. */
export const s = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** A section of the view, with its heading. */
export const panel = (title, attributes, ...children) => {
  const { tools, ...rest } = attributes ?? {};
  const head = h("div", { className: "panel-head" }, h("h2", {}, title), tools);
  const { className = "", ...others } = rest;
  return h("section", { className: `panel ${className}`, ariaLabel: title, ...others }, head, children);
};

/** Say something to everybody, by sight and by ear, until the next is said. */
export function tell(error) {
  const box = document.getElementById("told");
  const close = h(
    "button",
    { type: "button", className: "plain", onclick: () => (box.hidden = true), ariaLabel: "Dismiss" },
    "×",
  );
  const text =
    typeof error === "string"
      ? [h("p", {}, error)]
      : [
          h("p", {}, h("strong", {}, error.what ?? String(error))),
          error.why && h("p", {}, error.why),
          error.fix && h("p", { className: "fix" }, `What to do: ${error.fix}`),
        ];
  box.replaceChildren(h("div", {}, text.filter(Boolean)), close);
  box.hidden = false;
}

/** Hand a file to whoever looks at the page. */
export function download(name, blob) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** A name that nobody else has; crypto.randomUUID needs https elsewhere than on this machine. */
export const newId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

export const isDark = () => document.documentElement.dataset.theme === "dark";
export const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
