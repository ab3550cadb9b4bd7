// A stack of frames that is played: chunks are fetched ahead, and painted by a table of colours.

import { VIRIDIS } from "./colours.js";
import { h } from "./dom.js";

const CHUNK = 2_000_000; // numbers of a chunk
const KEPT = 8; // chunks

export class Player {
  /** @param load Fetches frames: (start, count) → Float32Array. */
  constructor(info, load, { size = 420, onFrame = () => {}, label = "Frames of the stack" } = {}) {
    Object.assign(this, {
      info,
      load,
      onFrame,
      frame: 0,
      log: true,
      range: null,
      overlay: null,
      mask: null,
      playing: false,
      rate: 20,
      shown: 0,
    });
    [this.tall, this.wide] = info.shown;
    this.count = Math.max(1, Math.min(64, Math.floor(CHUNK / (this.tall * this.wide))));
    this.chunks = new Map();
    this.grain = Math.max(1, Math.ceil((2 * size) / Math.max(this.wide, this.tall))); // pixels of the canvas to one of the frame
    this.canvas = h("canvas", {
      className: "frame",
      role: "img",
      ariaLabel: label,
      width: this.grain * this.wide,
      height: this.grain * this.tall,
    });
    this.small = h("canvas", { width: this.wide, height: this.tall });
    this.canvas.player = this;
    this.canvas.style.maxWidth = `${size}px`;
    this.pixels = new ImageData(this.wide, this.tall);
  }

  /** The numbers of a frame, fetched where they are not at hand. */
  async values(frame) {
    const start = frame - (frame % this.count);
    if (!this.chunks.has(start)) {
      this.chunks.set(start, this.load(start, this.count));
      for (const key of this.chunks.keys())
        if (this.chunks.size > KEPT && key !== start) this.chunks.delete(key);
    }
    let chunk;
    try {
      chunk = await this.chunks.get(start);
    } catch (error) {
      this.chunks.delete(start);
      throw error;
    }
    const size = this.tall * this.wide;
    return chunk.subarray((frame - start) * size, (frame - start + 1) * size);
  }

  /** Show a frame; the last that is asked for wins. */
  async show(frame) {
    this.frame = Math.min(this.info.frames - 1, Math.max(0, Math.round(frame)));
    const asked = this.frame;
    const values = await this.values(asked);
    if (asked !== this.frame) return;
    this.range ??= limits(values);
    this.paint(values);
    this.onFrame(asked);
    this.values((asked + this.count) % this.info.frames).catch(() => {});
  }

  set(options) {
    Object.assign(this, options);
    return this.show(this.frame);
  }

  paint(values) {
    const [low, high] = this.range;
    const floor = this.log ? Math.max(low, high * 1e-6, 1e-12) : low;
    const way = this.log ? Math.log : (v) => v;
    const [from, span] = [way(floor), way(high) - way(floor) || 1];
    const { data } = this.pixels;
    for (let i = 0, k = 0; i < values.length; i++, k += 4) {
      const v = values[i];
      const at = v > floor ? (way(v) - from) / span : 0;
      const colour = 3 * Math.min(255, Math.round(255 * at));
      data[k] = VIRIDIS[colour];
      data[k + 1] = VIRIDIS[colour + 1];
      data[k + 2] = VIRIDIS[colour + 2];
      data[k + 3] = 255;
    }
    this.#cover(data);
    this.small.getContext("2d").putImageData(this.pixels, 0, 0);
    const draw = this.canvas.getContext("2d");
    draw.imageSmoothingEnabled = false;
    draw.drawImage(this.small, 0, 0, this.canvas.width, this.canvas.height);
    if (this.overlay) this.#borders(draw);
    this.shown += 1;
    this.last = values;
  }

  /** Masked pixels are grey. */
  #cover(data) {
    const { mask, wide } = this;
    if (!mask) return;
    for (let i = 0, k = 0; k < data.length; i++, k += 4) {
      if (!mask[i]) data[k] = data[k + 1] = data[k + 2] = (i + Math.floor(i / wide)) % 4 < 2 ? 150 : 120;
    }
  }

  /** The borders of the q-map's bins, as white lines between pixels. */
  #borders(draw) {
    if (this.bordered !== this.overlay) {
      const { overlay, wide, tall, grain } = this;
      this.path = new Path2D();
      for (let y = 0; y < tall; y++)
        for (let x = 0; x < wide; x++) {
          const i = y * wide + x;
          if (x + 1 < wide && overlay[i] !== overlay[i + 1]) this.#line(grain * (x + 1), grain * y, 0, grain);
          if (y + 1 < tall && overlay[i] !== overlay[i + wide])
            this.#line(grain * x, grain * (y + 1), grain, 0);
        }
      this.bordered = overlay;
    }
    draw.lineWidth = 2;
    draw.strokeStyle = "rgba(255, 255, 255, 0.85)";
    draw.stroke(this.path);
  }

  #line(x, y, right, down) {
    this.path.moveTo(x, y);
    this.path.lineTo(x + right, y + down);
  }

  play(on) {
    this.playing = on;
    if (!on) return;
    let due = performance.now();
    const step = async (now) => {
      if (!this.playing || !this.canvas.isConnected) return;
      if (now >= due) {
        due = Math.max(due + 1000 / this.rate, now - 1000 / this.rate);
        await this.show((this.frame + 1) % this.info.frames).catch(() => (this.playing = false));
      }
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
}

/** A range of numbers in which most pixels lie. */
export function limits(values) {
  const sorted = Float32Array.from(values).filter(Number.isFinite).sort();
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0;
  const high = at(0.999) || at(1) || 1;
  const positive = sorted.find((v) => v > 0) ?? high;
  return [Math.max(at(0.01), Math.min(positive, high / 2)), high];
}

/** Bytes in base64 as an array of a kind. */
export function unpacked(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Kind(bytes.buffer);
}
