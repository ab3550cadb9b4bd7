// Shaded spheres and sticks, painted once and copied: a canvas needs no WebGL for them.

import { mixed } from "./colours.js";

const SIZE = 128;
const FOGS = 6; // steps from near to far

/** Sprites of atoms by what is on the site, fading into the ground with distance. */
export class Spheres {
  constructor(elements, ground) {
    Object.assign(this, { elements, ground, kept: new Map() });
  }

  colour(symbol) {
    return this.elements[symbol]?.colour ?? "#888888";
  }

  fogged(colour, far) {
    return mixed(colour, this.ground, 0.55 * far);
  }

  /** The picture of a site; far is 0 in front and 1 at the back. */
  sprite(site, far) {
    const step = Math.round(far * FOGS) / FOGS;
    const key = JSON.stringify(site) + step;
    if (!this.kept.has(key)) this.kept.set(key, this.#painted(site, step));
    return this.kept.get(key);
  }

  #painted(site, far) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIZE;
    const draw = canvas.getContext("2d");
    const [middle, radius] = [SIZE / 2, SIZE / 2 - 2];
    draw.beginPath();
    draw.arc(middle, middle, radius, 0, 2 * Math.PI);
    draw.save();
    draw.clip();
    let from = -Math.PI / 2;
    const rest = 1 - Object.values(site).reduce((a, b) => a + b, 0);
    const parts = [
      ...Object.entries(site).map(([symbol, part]) => [this.colour(symbol), part]),
      ["#f4f4f4", Math.max(0, rest)],
    ];
    for (const [colour, part] of parts) {
      draw.fillStyle = this.fogged(colour, far);
      draw.beginPath();
      draw.moveTo(middle, middle);
      draw.arc(middle, middle, radius + 2, from, from + 2 * Math.PI * part + 0.01);
      draw.fill();
      from += 2 * Math.PI * part;
    }
    const strength = 1 - 0.55 * far;
    const light = draw.createRadialGradient(SIZE * 0.36, SIZE * 0.32, 2, middle, middle, radius);
    light.addColorStop(0, `rgba(255,255,255,${0.85 * strength})`);
    light.addColorStop(0.22, `rgba(255,255,255,${0.3 * strength})`);
    light.addColorStop(0.55, "rgba(255,255,255,0)");
    light.addColorStop(0.72, "rgba(0,0,0,0)");
    light.addColorStop(1, `rgba(0,0,0,${0.5 * strength})`);
    draw.fillStyle = light;
    draw.fillRect(0, 0, SIZE, SIZE);
    draw.restore();
    draw.lineWidth = 2;
    draw.strokeStyle = `rgba(0,0,0,${0.35 * strength})`;
    draw.stroke();
    draw.beginPath();
    draw.arc(middle, middle, radius, 0, 2 * Math.PI);
    draw.stroke();
    return canvas;
  }

  /** Half of a bond, round and lit from above. */
  stick(draw, x0, y0, x1, y1, width, colour, far) {
    const base = this.fogged(colour, far);
    draw.lineCap = "round";
    for (const [part, shade, up] of [
      [1, mixed(base, "#000000", 0.4), 0],
      [0.78, base, 0],
      [0.26, mixed(base, "#ffffff", 0.55), -0.14],
    ]) {
      draw.strokeStyle = shade;
      draw.lineWidth = Math.max(0.6, width * part);
      draw.beginPath();
      draw.moveTo(x0 + up * width, y0 + up * width);
      draw.lineTo(x1 + up * width, y1 + up * width);
      draw.stroke();
    }
  }
}
