// The two-time map: how each frame correlates with each other. A click goes to that time.

import { VIRIDIS } from "./colours.js";
import { h } from "./dom.js";
import { number } from "./units.js";
import { limits, unpacked } from "./player.js";

export class TwoTimeMap {
  constructor(onFrame) {
    this.onFrame = onFrame;
    this.canvas = h("canvas", {
      className: "map",
      role: "img",
      tabIndex: 0,
      ariaLabel: "Two-time correlation; a click, or arrow keys, choose the time of the frame",
      width: 1,
      height: 1,
    });
    this.span = h("p", { className: "facts" });
    this.told = h("p", { className: "facts", role: "status" });
    this.element = h(
      "div",
      { className: "map-box" },
      this.canvas,
      h("p", { className: "facts" }, "c(t₁, t₂): t₁ to the right, t₂ upwards. Click to see the frame at t₁."),
      this.span,
      this.told,
    );
    this.canvas.addEventListener("click", (event) => {
      const box = this.canvas.getBoundingClientRect();
      this.choose(
        Math.floor(((event.clientX - box.left) / box.width) * this.rows),
        Math.floor((1 - (event.clientY - box.top) / box.height) * this.rows),
      );
    });
    this.canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      if (!moves[event.key] || !this.values) return;
      event.preventDefault();
      const [x, y] = this.at ?? [0, 0];
      this.choose(x + moves[event.key][0], y + moves[event.key][1]);
    });
  }

  show(found) {
    this.found = found;
    this.rows = found.rows;
    this.values = unpacked(found.map, Float32Array);
    this.at = null;
    this.range = limits(this.values);
    const { first, step } = found;
    const [from, to] = this.range.map((v) => number(v, 3));
    this.span.textContent = `Frames ${first} to ${first + (this.rows - 1) * step}; colours from ${from} (dark) to ${to} (light).`;
    this.draw();
  }

  /** A pair of times: the frame of the later axis is shown. */
  choose(x, y) {
    const within = (v) => Math.min(this.rows - 1, Math.max(0, v));
    this.at = [within(x), within(y)];
    this.draw();
    const { first, step } = this.found;
    const [one, two] = this.at.map((row) => first + row * step);
    this.told.textContent = `frames ${one} and ${two}: c = ${number(this.values[this.at[1] * this.rows + this.at[0]])}`;
    this.onFrame(one);
  }

  draw() {
    const {
      rows,
      values,
      range: [low, high],
    } = this;
    Object.assign(this.canvas, { width: rows, height: rows });
    const pixels = new ImageData(rows, rows);
    for (let y = 0; y < rows; y++)
      for (let x = 0; x < rows; x++) {
        const k = 4 * ((rows - 1 - y) * rows + x);
        const v = values[y * rows + x];
        const colour = 3 * Math.max(0, Math.min(255, Math.round((255 * (v - low)) / (high - low || 1))));
        pixels.data.set(
          Number.isFinite(v)
            ? [VIRIDIS[colour], VIRIDIS[colour + 1], VIRIDIS[colour + 2], 255]
            : [128, 128, 128, 255],
          k,
        );
        if (this.at && (x === this.at[0] || y === this.at[1])) pixels.data.set([255, 255, 255, 255], k);
      }
    this.canvas.getContext("2d").putImageData(pixels, 0, 0);
  }
}
