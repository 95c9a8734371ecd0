// Blending in the browser: base + Σ amount · shift, on a canvas over the picture. No round trip, every frame.

import { request } from "./api.js";
import { store } from "./store.js";

/* global OpenSeadragon */

const halves = new Float32Array(65536); // float16 → float32
for (let i = 0; i < 65536; i += 1) {
  const exponent = (i >> 10) & 31, fraction = i & 1023, sign = i & 32768 ? -1 : 1;
  if (exponent === 0) halves[i] = sign * fraction * 2 ** -24;
  else if (exponent === 31) halves[i] = fraction ? NaN : sign * Infinity;
  else halves[i] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** What the server sent for a region: a member's part and the shift of one σ along each component. */
export async function fetchBlend(base, made) {
  const blob = await request("GET", `${base}/blobs/${made.blob}`, undefined, { raw: true });
  const raw = new Uint16Array(await blob.arrayBuffer());
  const size = made.height * made.width * 3;
  const planes = Array.from({ length: made.count + 1 }, (_, i) => {
    const plane = new Float32Array(size);
    for (let j = 0; j < size; j += 1) plane[j] = 255 * halves[raw[i * size + j]];
    return plane;
  });
  return { ...made, base: planes[0], shifts: planes.slice(1) };
}

export class Blender {
  #canvas = document.createElement("canvas");
  #pane = null;
  #frame = 0;
  #moving = 0; // the component that moves
  #last = null; // amounts drawn last

  constructor() {
    this.#canvas.className = "blend";
  }

  /** Lay the blend over a pane. */
  start(pane, blend) {
    this.stop();
    this.blend = blend;
    Object.assign(this.#canvas, { width: blend.width, height: blend.height });
    this.image = new ImageData(blend.width, blend.height);
    this.image.data.fill(255);
    this.rest = new Float32Array(blend.base.length);
    this.#last = null;
    this.#canvas.hidden = true;
    this.#lay(pane);
  }

  #lay(pane) {
    const { blend } = this, w = store.info.width;
    this.#pane = pane;
    const location = new OpenSeadragon.Rect(blend.left / w, blend.top / w, blend.width / w, blend.height / w);
    pane.viewer.addOverlay({ element: this.#canvas, location });
  }

  /** Draw amounts over a pane at the next frame. */
  draw(amounts, pane) {
    if (this.blend && pane !== this.#pane) this.#lay(pane); // side by side has made others
    this.amounts = amounts;
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.drawNow();
    });
  }

  drawNow() {
    if (!this.blend) return;
    const { amounts, rest } = this, { data } = this.image; // which clamps and rounds
    const fits = this.#last?.every((a, i) => i === this.#moving || a === amounts[i]);
    if (!fits) this.#rebuild();
    this.#last = [...amounts];
    const shift = this.blend.shifts[this.#moving], amount = amounts[this.#moving];
    for (let j = 0, k = 0; j < rest.length; j += 3, k += 4) {
      data[k] = rest[j] + amount * shift[j];
      data[k + 1] = rest[j + 1] + amount * shift[j + 1];
      data[k + 2] = rest[j + 2] + amount * shift[j + 2];
    }
    this.#canvas.getContext("2d").putImageData(this.image, 0, 0);
    this.#canvas.style.imageRendering = this.#pane.zoom >= 2 ? "pixelated" : "auto";
    this.#canvas.hidden = false;
  }

  /** Who drags moves one slider: the base with all that the others add is kept. */
  #rebuild() {
    const { base, shifts } = this.blend, { amounts, rest } = this;
    this.#moving = Math.max(0, amounts.findIndex((a, i) => a !== this.#last?.[i]));
    rest.set(base);
    shifts.forEach((shift, i) => {
      const a = amounts[i];
      if (a && i !== this.#moving) for (let j = 0; j < rest.length; j += 1) rest[j] += a * shift[j];
    });
  }

  /** Show the picture below again. */
  hide() {
    this.#canvas.hidden = true;
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.blend = null;
    this.#pane?.viewer.removeOverlay?.(this.#canvas);
    this.#canvas.remove();
    this.#pane = null;
  }
}
