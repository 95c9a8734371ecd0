// While the exact picture of a whole member is being made: a draft of the part that is visible, from that part alone.

import { h } from "./dom.js";
import { request, run } from "./api.js";
import { isMember, keepSpread, layerOf, same, wanted } from "./layers.js";
import { store } from "./store.js";

/* global OpenSeadragon */

const PATIENCE = 400; // ms; a picture that comes sooner needs no draft
const LARGEST = 320; // LR pixels; where more is visible, little but the LR picture can be seen
const MIDDLE = { members: 96, stddev: 48 }; // LR pixels of a large picture that are shown first

export class Draft {
  #pane;
  #slot; // 0 for the picture below, 1 for that across the curtain or in the lens
  #listener;
  #wanted = null; // member and edits that are being made
  #timer = 0;
  #controller = null; // of the draft that is under way
  #image = null; // on the pane
  #made = null; // what the server says of it

  /** ``listener(name, made)`` is called when something is shown in place of the picture, a draft that was made or not. */
  constructor(pane, slot, listener) {
    this.#pane = pane;
    this.#slot = slot;
    this.#listener = listener;
    pane.viewer.addHandler("animation-finish", () => this.#ask());
  }

  /** A member is being made. */
  start(member) {
    const drafted = this.#image;
    this.stop();
    if (drafted) this.#listener("An earlier picture is shown"); // what the draft lay upon
    if (!isMember(member) && member.kind !== "stddev") return;
    this.#timer = setTimeout(() => {
      this.#wanted = wanted(member);
      if (!this.#slot && !this.#pane.below) this.#stand();
      this.#ask();
    }, PATIENCE);
  }

  /** The exact picture is there, or will not come. */
  stop() {
    clearTimeout(this.#timer);
    this.#controller?.abort();
    this.#controller = this.#wanted = null;
    this.#show(null);
  }

  /** Nothing is shown yet. */
  async #stand() {
    const layer = await layerOf({ kind: "lr" }).catch(() => null);
    if (!layer || !this.#wanted || this.#image) return;
    this.#pane.stand(layer);
    this.#listener("LR, enlarged");
  }

  async #ask() {
    const part = this.#wanted && visible(this.#pane);
    this.#controller?.abort();
    if (!part) return;
    const controller = this.#controller = new AbortController();
    const base = store.base;
    try {
      for (const some of this.#parts(part)) {
        const made = await run(base, "drafts", { ...this.#wanted, part: some }, false, controller.signal);
        const url = URL.createObjectURL(await request("GET", `${base}/blobs/${made.blob}`, undefined, { raw: true }));
        const image = h("img", { class: "draft", alt: "", src: url });
        await image.decode();
        URL.revokeObjectURL(url);
        if (controller.signal.aborted) return;
        if (made.end) keepSpread(this.#wanted, made);
        this.#show(image, made);
        this.#listener("Draft, not measured", made);
      }
    } catch {
      // The exact picture follows, or its error does.
    }
  }

  /** What is computed of a visible part, one after the other. */
  #parts(part) {
    const { large, width, height, scale } = store.info;
    const spread = this.#wanted.member.kind === "stddev";
    const first = middle(part, spread ? MIDDLE.stddev : MIDDLE.members);
    const parts = large && !same(first, part) ? [first, part] : [part];
    // σ of most of the picture takes as long as the whole of it.
    return spread ? parts.filter((some) => some.height * some.width * scale ** 2 < 0.5 * width * height) : parts;
  }

  /** Cut it as the picture in its place is cut. */
  reclip() {
    if (this.#image) this.#image.style.clipPath = this.#pane.cutOf(this.#slot, this.#made);
  }

  #show(image, made) {
    const { viewer } = this.#pane, w = store.info?.width;
    if (image) {
      image.style.imageRendering = this.#pane.zoom >= 2 ? "pixelated" : "auto";
      viewer.addOverlay({ element: image, location: new OpenSeadragon.Rect(made.left / w, made.top / w, made.width / w, made.height / w) });
    }
    if (this.#image) {
      viewer.removeOverlay(this.#image);
      this.#image.remove();
    }
    this.#image = image;
    this.#made = made;
    this.reclip();
  }
}

/** The visible LR pixels; null if they are too many or none. */
function visible(pane) {
  const { scale, width, height } = store.info;
  const [left, top] = pane.toImage(0, 0).map((v) => Math.max(0, Math.floor(v / scale)));
  const [right, bottom] = pane.toImage(pane.element.clientWidth, pane.element.clientHeight)
    .map((v, i) => Math.min((i ? height : width) / scale, Math.ceil(v / scale)));
  const part = { top, left, height: bottom - top, width: right - left };
  return [part.height, part.width].every((v) => v > 0 && v <= LARGEST) ? part : null;
}

/** The middle of a part. */
function middle(part, most) {
  const [height, width] = [part.height, part.width].map((v) => Math.min(v, most));
  return { top: part.top + ((part.height - height) >> 1), left: part.left + ((part.width - width) >> 1), height, width };
}
