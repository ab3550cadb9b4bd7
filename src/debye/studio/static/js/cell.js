// The cell in three dimensions on a plain canvas: turned, enlarged, and moving in a mode.

import { ground, mixed } from "./colours.js";
import { h, isDark, isStill } from "./dom.js";
import { atomsOf, bondsOf, cartesian, drawnBonds, edgesOf, mainSpecies, polyhedraOf } from "./geometry.js";
import { amplitude, displaced, scaleTo } from "./motion.js";
import { Spheres } from "./spheres.js";

const PERIOD = 1500; // ms of a swing, whatever the frequency
const FRONT = [
  [1, 0, 0],
  [0, 0, 1],
  [0, -1, 0],
];
const REACH = 0.35; // Å of the largest motion

const times = (A, B) =>
  A.map((row) => [0, 1, 2].map((k) => row[0] * B[0][k] + row[1] * B[1][k] + row[2] * B[2][k]));
const apply = (A, v) => A.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
const aboutX = (t) => [
  [1, 0, 0],
  [0, Math.cos(t), -Math.sin(t)],
  [0, Math.sin(t), Math.cos(t)],
];
const aboutY = (t) => [
  [Math.cos(t), 0, Math.sin(t)],
  [0, 1, 0],
  [-Math.sin(t), 0, Math.cos(t)],
];
const START = times(aboutX(0.28), times(aboutY(-0.42), FRONT));

export class CellViewer {
  constructor(elements, { height = 360, onTurn = () => {} } = {}) {
    Object.assign(this, {
      elements,
      height,
      onTurn,
      turn: START,
      zoom: 1,
      mode: null,
      phase: 0,
      amplitudeFactor: 1,
    });
    this.options = { bonds: true, polyhedra: false, images: true, reps: [1, 1, 1], arrows: isStill() };
    this.canvas = h("canvas", { className: "cell", tabIndex: 0, role: "img" });
    this.canvas.viewer = this;
    this.element = h("div", { className: "cell-box" }, this.canvas);
    this.playing = false;
    new ResizeObserver(() => this.render()).observe(this.element);
    this.#listen();
  }

  /** Show a crystal: its cell, positions, species and composition. */
  show(crystal, options = {}) {
    this.crystal = crystal;
    Object.assign(this.options, options);
    this.mode = null;
    this.bonds = bondsOf(crystal, this.elements);
    this.#lay();
  }

  set(options) {
    Object.assign(this.options, options);
    this.#lay();
  }

  /** Let it move in a mode; null stops. */
  move(mode) {
    this.mode = mode;
    this.#prepare();
    this.phase = 0;
    this.play(Boolean(mode) && !isStill());
    this.render();
  }

  play(on) {
    this.playing = on;
    if (!on) return;
    let last = null;
    const step = (now) => {
      if (!this.playing || !this.canvas.isConnected) return;
      if (last != null) this.phase += (2 * Math.PI * (now - last)) / PERIOD;
      last = now;
      this.render();
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  /** Complex displacement of each drawn atom, as the animation uses it: what a test reads back. */
  displacements() {
    return [...this.atoms.values()].map((atom) => ({
      site: atom.site,
      shift: atom.shift,
      outer: atom.outer,
      u: atom.amplitudes,
    }));
  }

  #lay() {
    const { reps, images, polyhedra, bonds } = this.options;
    this.atoms = atomsOf(this.crystal, this.bonds, { reps, images, complete: bonds });
    this.sticks = bonds ? drawnBonds(this.atoms, this.bonds) : [];
    this.polyhedra = polyhedra ? polyhedraOf(this.crystal, this.atoms, this.bonds) : [];
    this.edges = edgesOf(reps).map((ends) => ends.map((f) => cartesian(this.crystal.cell, f)));
    this.middle = cartesian(
      this.crystal.cell,
      reps.map((n) => n / 2),
    );
    this.extent =
      Math.max(
        ...[...this.atoms.values()].map(({ position }) =>
          Math.hypot(...position.map((x, k) => x - this.middle[k])),
        ),
        ...this.edges.flat().map((p) => Math.hypot(...p.map((x, k) => x - this.middle[k]))),
      ) + 0.5;
    const { formula, n_sites: sites } = this.crystal;
    this.canvas.setAttribute(
      "aria-label",
      `The cell of ${formula} with its ${sites} sites; arrow keys turn it, plus and minus enlarge`,
    );
    this.#prepare();
    this.render();
  }

  #prepare() {
    if (!this.mode) return;
    this.scale = scaleTo(this.mode, REACH);
    for (const atom of this.atoms.values()) atom.amplitudes = amplitude(this.mode, atom.site, atom.place);
  }

  #placed(atom) {
    if (!this.mode) return atom.position;
    const u = displaced(atom.amplitudes, this.scale * this.amplitudeFactor, this.phase);
    return atom.position.map((x, k) => x + u[k]);
  }

  render() {
    const width = this.element.clientWidth;
    if (!this.atoms || !width) return;
    const dense = Math.min(2, devicePixelRatio || 1);
    const [w, hgt] = [Math.round(width * dense), Math.round(this.height * dense)];
    if (this.canvas.width !== w || this.canvas.height !== hgt) {
      Object.assign(this.canvas, { width: w, height: hgt });
      this.canvas.style.height = `${this.height}px`;
    }
    if (!this.spheres || this.spheres.ground !== ground())
      this.spheres = new Spheres(this.elements, ground());
    const draw = this.canvas.getContext("2d");
    draw.clearRect(0, 0, w, hgt);
    const unit = (0.47 * Math.min(w, hgt) * this.zoom) / this.extent;
    const project = (p) => {
      const [x, y, z] = apply(
        this.turn,
        p.map((v, k) => v - this.middle[k]),
      );
      return [w / 2 + unit * x, hgt / 2 - unit * y, z];
    };
    const parts = this.#parts(project, unit, draw);
    parts.sort((a, b) => a.z - b.z);
    for (const part of parts) part.paint();
  }

  #far(z) {
    return Math.min(1, Math.max(0, 0.5 - (0.5 * z) / this.extent));
  }

  /** Everything that is seen, each with its depth and how it is painted. */
  #parts(project, unit, draw) {
    const parts = [];
    const at = new Map();
    for (const [key, atom] of this.atoms) at.set(key, project(this.#placed(atom)));
    for (const [key, atom] of this.atoms) parts.push(this.#atom(atom, at.get(key), unit, draw));
    for (const [a, b] of this.sticks) parts.push(...this.#bond(a, b, at, unit, draw));
    for (const { centre, faces } of this.polyhedra)
      parts.push(...faces.map((face) => this.#face(centre, face, at, draw)));
    for (const [p, q] of this.edges) parts.push(...this.#edge(project(p), project(q), draw));
    if (this.mode && this.options.arrows)
      for (const [key, atom] of this.atoms) parts.push(this.#arrow(atom, at.get(key), project, draw));
    return parts;
  }

  radius(site) {
    return 0.13 + 0.3 * (this.elements[mainSpecies(site)]?.radius ?? 1.5);
  }

  #atom(atom, [x, y, z], unit, draw) {
    const site = this.crystal.species[atom.site];
    const r = unit * this.radius(site);
    const sprite = this.spheres.sprite(site, this.#far(z));
    return { z, paint: () => draw.drawImage(sprite, x - r, y - r, 2 * r, 2 * r) };
  }

  #bond(a, b, at, unit, draw) {
    const [p, q] = [at.get(a), at.get(b)];
    const middle = p.map((v, k) => (v + q[k]) / 2);
    const width = unit * 0.16;
    return [
      [a, p],
      [b, q],
    ].map(([key, end]) => {
      const z = (end[2] + middle[2]) / 2 - 0.05;
      const colour = this.spheres.colour(mainSpecies(this.crystal.species[this.atoms.get(key).site]));
      return {
        z,
        paint: () =>
          this.spheres.stick(draw, end[0], end[1], middle[0], middle[1], width, colour, this.#far(z)),
      };
    });
  }

  #face(centre, face, at, draw) {
    const corners = face.map((key) => at.get(key));
    const z = corners.reduce((sum, c) => sum + c[2], 0) / corners.length;
    const [p, q, r] = corners;
    const tilt = Math.abs((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]));
    const across = Math.hypot(q[0] - p[0], q[1] - p[1]) * Math.hypot(r[0] - p[0], r[1] - p[1]) || 1;
    const colour = this.spheres.colour(mainSpecies(this.crystal.species[this.atoms.get(centre).site]));
    const shade = mixed(this.spheres.fogged(colour, this.#far(z)), "#ffffff", 0.35 * (tilt / across));
    return {
      z,
      paint: () => {
        draw.beginPath();
        corners.forEach(([x, y], i) => (i ? draw.lineTo(x, y) : draw.moveTo(x, y)));
        draw.closePath();
        draw.globalAlpha = 0.38;
        draw.fillStyle = shade;
        draw.fill();
        draw.globalAlpha = 0.7;
        draw.lineWidth = 1;
        draw.strokeStyle = mixed(shade, "#000000", 0.25);
        draw.stroke();
        draw.globalAlpha = 1;
      },
    };
  }

  #edge(p, q, draw) {
    const pieces = 8;
    return Array.from({ length: pieces }, (_, i) => {
      const [a, b] = [i / pieces, (i + 1) / pieces].map((t) => p.map((v, k) => v + t * (q[k] - v)));
      const z = (a[2] + b[2]) / 2;
      return {
        z,
        paint: () => {
          draw.strokeStyle = mixed(isDark() ? "#aeb8c4" : "#55606c", ground(), 0.65 * this.#far(z));
          draw.lineWidth = 1.2;
          draw.beginPath();
          draw.moveTo(a[0], a[1]);
          draw.lineTo(b[0], b[1]);
          draw.stroke();
        },
      };
    });
  }

  #arrow(atom, from, project, draw) {
    const u = displaced(
      atom.amplitudes,
      2.6 * this.scale * this.amplitudeFactor,
      this.playing ? this.phase : 0,
    );
    const to = project(this.#placed(atom).map((x, k) => x + u[k]));
    return {
      z: from[2] + 0.8,
      paint: () => {
        const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
        const size = Math.hypot(dx, dy);
        if (size < 4) return;
        const [ux, uy] = [dx / size, dy / size];
        const head = Math.min(9, size / 2);
        draw.strokeStyle = draw.fillStyle = isDark() ? "#ffffff" : "#11161c";
        draw.lineWidth = 2;
        draw.beginPath();
        draw.moveTo(from[0], from[1]);
        draw.lineTo(to[0] - ux * head, to[1] - uy * head);
        draw.stroke();
        draw.beginPath();
        draw.moveTo(to[0], to[1]);
        draw.lineTo(to[0] - head * (ux + 0.5 * uy), to[1] - head * (uy - 0.5 * ux));
        draw.lineTo(to[0] - head * (ux - 0.5 * uy), to[1] - head * (uy + 0.5 * ux));
        draw.fill();
      },
    };
  }

  /** Turn by angles about the upright and the level axis, as the reader sees them. */
  rotate(across, up) {
    this.turn = times(aboutX(up), times(aboutY(across), this.turn));
    this.#changed();
  }

  enlarge(factor) {
    this.zoom = Math.min(8, Math.max(0.3, this.zoom * factor));
    this.#changed();
  }

  reset() {
    Object.assign(this, { turn: START, zoom: 1 });
    this.#changed();
  }

  #changed() {
    if (!this.playing) this.render();
    this.onTurn();
  }

  #listen() {
    const pointers = new Map();
    let spread = 0;
    this.canvas.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      this.canvas.setPointerCapture(event.pointerId);
      spread = 0;
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      if (pointers.size === 2) {
        const [a, b] = [...pointers.values()];
        const now = Math.hypot(a[0] - b[0], a[1] - b[1]);
        if (spread) this.enlarge(now / spread);
        spread = now;
        return;
      }
      this.rotate((event.clientX - before[0]) * 0.01, (event.clientY - before[1]) * 0.01);
    });
    for (const end of ["pointerup", "pointercancel"])
      this.canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
    this.canvas.addEventListener(
      "wheel",
      (event) => {
        if (document.activeElement !== this.canvas && !event.ctrlKey) return;
        event.preventDefault();
        this.enlarge(Math.exp(-event.deltaY * 0.001));
      },
      { passive: false },
    );
    this.canvas.addEventListener("keydown", (event) => {
      const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
      if (turns[event.key]) this.rotate(...turns[event.key]);
      else if (event.key === "+" || event.key === "=") this.enlarge(1.15);
      else if (event.key === "-") this.enlarge(1 / 1.15);
      else if (event.key === "0") this.reset();
      else return;
      event.preventDefault();
    });
  }
}
