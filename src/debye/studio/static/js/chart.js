// Curves on one pair of axes, as an SVG: the same picture on the page, in print and in a file.

import { h, s } from "./dom.js";
import { logTicks, number, ticks } from "./units.js";

const PAD = { left: 58, right: 14, top: 12, bottom: 46 };

export class Chart {
  /**
   * @param label What it shows, in words.
   * @param along The axis that the pointer follows: "x", "y", or "both" for the nearest point.
   * @param onPick Is told of a click: {x, y} in the units of the axes.
   */
  constructor({ label, along = "x", height = 260, onPick = null, onMove = null, pad = {}, grid = true }) {
    Object.assign(this, { label, along, height, onPick, onMove, grid, pad: { ...PAD, ...pad } });
    this.svg = s("svg", { class: "chart", role: "img", tabindex: 0, "aria-label": label });
    this.svg.chart = this;
    this.tip = h("div", { className: "tip", hidden: true });
    this.said = h("p", { className: "unseen", role: "status" });
    this.element = h("div", { className: "chart-box" }, this.svg, this.tip, this.said);
    this.spec = null;
    this.cursor = null;
    new ResizeObserver(() => this.render()).observe(this.element);
    this.svg.addEventListener("pointermove", (event) => this.#point(event));
    this.svg.addEventListener("pointerleave", () => this.#leave());
    this.svg.addEventListener("click", (event) => onPick?.(this.#values(event)));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  /** Draw: {x: {label, domain, log, ticks}, y: {…}, layers: [{kind, x, y, …}]}. */
  draw(spec) {
    this.spec = spec;
    this.cursor = null;
    this.render();
  }

  render() {
    const width = Math.round(this.element.clientWidth);
    if (!this.spec || !width) return;
    this.width = width;
    const { pad, height } = this;
    const longest = Math.max(0, ...this.#levels().map(([, label]) => label.length));
    const left = this.spec.y.hidden ? pad.left : Math.max(pad.left, 26 + 6.3 * longest);
    const inner = { x0: left, x1: width - pad.right, y0: height - pad.bottom, y1: pad.top };
    this.scaleX = scale(this.spec.x, inner.x0, inner.x1);
    this.scaleY = scale(this.spec.y, inner.y0, inner.y1);
    this.inner = inner;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    const clip = `clip${Chart.count++}`;
    const frame = {
      x: inner.x0,
      y: inner.y1,
      width: Math.max(0, inner.x1 - inner.x0),
      height: inner.y0 - inner.y1,
    };
    this.marks = s("g", { class: "marks" });
    this.svg.replaceChildren(
      s("clipPath", { id: clip }, s("rect", frame)),
      this.#axes(),
      s(
        "g",
        { "clip-path": `url(#${clip})` },
        this.spec.layers.map((layer) => this.#layer(layer)),
      ),
      s("rect", { class: "frame", ...frame }),
      this.marks,
    );
    if (this.cursor != null) this.#show(this.cursor);
  }

  /** Ticks of the upright axis with their labels. */
  #levels() {
    const { y } = this.spec;
    const tall = this.height - this.pad.top - this.pad.bottom;
    const values = y.log ? logTicks(...y.domain) : ticks(...y.domain, tall / 42);
    return y.ticks ?? values.map((v) => [v, number(v, 6)]);
  }

  #axes() {
    const { x, y } = this.spec;
    const { x0, x1, y0, y1 } = this.inner;
    const parts = [];
    const xs =
      x.ticks ??
      (x.log ? logTicks(...x.domain) : ticks(...x.domain, (x1 - x0) / 90)).map((v) => [v, number(v, 6)]);
    let end = -Infinity;
    for (const [value, label] of xs) {
      const at = this.scaleX(value);
      if (this.grid || x.ticks)
        parts.push(s("line", { class: x.ticks ? "tick strong" : "tick", x1: at, x2: at, y1: y0, y2: y1 }));
      const half = 3.6 * label.length;
      if (at - half < end) continue;
      end = at + half + 4;
      const within = Math.min(at, this.width - half);
      parts.push(s("text", { x: within, y: y0 + 17, "text-anchor": "middle" }, label));
    }
    for (const [value, label] of this.#levels()) {
      const at = this.scaleY(value);
      if (this.grid) parts.push(s("line", { class: "tick", x1: x0, x2: x1, y1: at, y2: at }));
      if (!y.hidden) parts.push(s("text", { x: x0 - 7, y: at + 4, "text-anchor": "end" }, label));
    }
    const middle = (y0 + y1) / 2;
    parts.push(
      s("text", { class: "name", x: (x0 + x1) / 2, y: this.height - 8, "text-anchor": "middle" }, x.label),
    );
    if (!y.hidden)
      parts.push(
        s(
          "text",
          { class: "name", x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` },
          y.label,
        ),
      );
    return s("g", { class: "axes" }, parts);
  }

  #layer(layer) {
    const at = (x, y) => `${this.scaleX(x).toFixed(1)} ${this.scaleY(y).toFixed(1)}`;
    const shared = {
      class: `layer ${layer.className ?? ""}`,
      stroke: layer.colour,
      "stroke-width": layer.width ?? 1.6,
      "stroke-dasharray": layer.dash,
    };
    if (layer.kind === "points") {
      return s(
        "g",
        { class: `layer ${layer.className ?? ""}`, fill: layer.colour, stroke: layer.colour },
        layer.x
          .map((x, i) => {
            const [cx, cy] = [this.scaleX(x), this.scaleY(layer.y[i])];
            if (!Number.isFinite(cx + cy)) return null;
            const bar =
              layer.error &&
              s("line", {
                x1: cx,
                x2: cx,
                y1: this.scaleY(layer.y[i] - layer.error[i]),
                y2: this.scaleY(layer.y[i] + layer.error[i]),
              });
            return [bar, s("circle", { cx, cy, r: layer.r ?? 3, stroke: "none" })];
          })
          .flat(),
      );
    }
    if (layer.kind === "area") {
      const there = layer.x.map((x, i) => at(x, layer.y[i]));
      const back = layer.x.map((x, i) => at(layer.x2?.[i] ?? x, layer.y2?.[i] ?? layer.y[i])).reverse();
      return s("path", {
        class: `layer ${layer.className ?? ""}`,
        fill: layer.colour,
        "fill-opacity": layer.opacity ?? 0.25,
        stroke: "none",
        d: `M${[...there, ...back].join("L")}Z`,
      });
    }
    const parts = [];
    let pen = "M";
    layer.x.forEach((x, i) => {
      if (layer.breaks?.has(i) || layer.y[i] == null) pen = "M";
      if (layer.y[i] == null) return;
      parts.push(pen + at(x, layer.y[i]));
      pen = "L";
    });
    return s("path", { ...shared, fill: "none", "stroke-linejoin": "round", d: parts.join("") });
  }

  /** Where an event is, in units of the axes; a click knows whole pixels only, so a move does too. */
  #values(event) {
    const box = this.svg.getBoundingClientRect();
    const ratio = this.width / box.width;
    return {
      x: this.scaleX.invert((Math.floor(event.clientX) - box.left) * ratio),
      y: this.scaleY.invert((Math.floor(event.clientY) - box.top) * ratio),
    };
  }

  #point(event) {
    if (!this.spec || !this.width) return;
    const at = this.#values(event);
    this.onMove?.(at);
    this.#show(this.along === "y" ? at.y : at.x, at);
  }

  #leave() {
    this.tip.hidden = true;
    this.marks?.replaceChildren();
    this.cursor = null;
  }

  /** Left and right (or up and down) move what a pointer would. */
  key(event) {
    const back = ["ArrowLeft", "ArrowDown"].includes(event.key);
    if (!back && !["ArrowRight", "ArrowUp"].includes(event.key)) return;
    event.preventDefault();
    const domain = (this.along === "y" ? this.spec.y : this.spec.x).domain;
    const step = (domain[1] - domain[0]) / 50;
    const from = this.cursor ?? (back ? domain[1] : domain[0]) - (back ? -step : step);
    this.#show(Math.min(domain[1], Math.max(domain[0], from + (back ? -step : step))));
    this.said.textContent = this.tip.textContent;
  }

  /** What stands at a value: a line, and the numbers of each curve. */
  #show(value, pointer) {
    const told = this.spec.read?.(value, pointer);
    if (!told) return this.#leave();
    this.cursor = value;
    const { x0, x1, y0, y1 } = this.inner;
    const marks = [];
    if (this.along === "y")
      marks.push(
        s("line", { class: "cursor", x1: x0, x2: x1, y1: this.scaleY(value), y2: this.scaleY(value) }),
      );
    else if (this.along === "x")
      marks.push(
        s("line", { class: "cursor", x1: this.scaleX(value), x2: this.scaleX(value), y1: y0, y2: y1 }),
      );
    for (const dot of told.dots ?? [])
      marks.push(
        s("circle", {
          cx: this.scaleX(dot.x),
          cy: this.scaleY(dot.y),
          r: 4,
          fill: dot.colour ?? "currentColor",
          class: "dot",
        }),
      );
    this.marks.replaceChildren(...marks);
    this.tip.replaceChildren(
      ...told.lines.map(([name, text, colour]) =>
        h("div", {}, colour && coloured(colour), h("span", {}, `${name} `), h("b", {}, text)),
      ),
    );
    this.tip.hidden = false;
    this.tip.classList.toggle(
      "left",
      (this.along === "y" ? 0.8 : (this.scaleX(value) - x0) / (x1 - x0)) > 0.55,
    );
  }

  static count = 0;
}

const coloured = (colour) => {
  const swatch = h("i", { className: "swatch" });
  swatch.style.background = colour;
  return swatch;
};

/** From a domain to pixels, and back. */
function scale({ domain: [low, high], log }, from, to) {
  const way = log ? Math.log10 : (v) => v;
  const [a, b] = [way(low), way(high)];
  const found = (value) => from + ((way(value) - a) / (b - a || 1)) * (to - from);
  found.invert = (pixel) => {
    const value = a + ((pixel - from) / (to - from)) * (b - a);
    return log ? 10 ** value : value;
  };
  return found;
}
