// The pixel that is looked at: its values, and the lens around it. The mouse hovers, a finger taps, keys move a cross.

import { $, byTouch, debounce } from "./dom.js";
import { request } from "./api.js";
import { spreadAt, wanted } from "./layers.js";
import { store } from "./store.js";

class Values {
  #pane = null;
  #at = null; // HR coordinates
  onchange = () => {}; // called with the pixel that is looked at: null where the mouse itself shows which

  /** Look at what is pointed at in a pane. */
  watch(pane) {
    const { element } = pane;
    const look = (event) => {
      const box = element.getBoundingClientRect();
      this.look(pane, pane.toImage(event.clientX - box.left, event.clientY - box.top), { marked: event.pointerType === "touch" });
    };
    element.addEventListener("pointerdown", (event) => event.pointerType === "touch" && event.isPrimary && look(event));
    element.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch" || (event.isPrimary && !pane.pans)) look(event);
    });
  }

  /** Look at a pixel, the nearest one if beside the picture: ``marked`` draws a cross there, ``spoken`` is for those who do not see it. */
  look(pane, at, { marked = false, spoken = false } = {}) {
    const { width, height } = store.info;
    this.#lookAt(pane, at.map((v, i) => Math.min([width, height][i], Math.max(0, v))));
    $("#readout").setAttribute("aria-live", spoken ? "polite" : "off");
    this.onchange(marked ? this.#at : null);
  }

  /** The lens lies where the values are of, also when the mouse has left. */
  #lookAt(pane, at) {
    this.#pane = pane;
    this.#at = pane.lens = at;
    if (pane.mode === "lens") pane.reclip();
    this.read();
  }

  /** A pane is gone: the pixel that was looked at there is looked at in another one. */
  leave(gone, pane) {
    if (this.#pane === gone) this.#lookAt(pane, this.#at);
  }

  /** Nothing is looked at. */
  reset() {
    this.#pane = this.#at = null;
    $("#readout").textContent = byTouch() ? "Tap the picture for values."
      : "Point at the picture or tap it for values; with keys, press v.";
  }

  /** Show the values, which may have changed. */
  read = debounce(async () => {
    const pane = this.#pane, at = this.#at;
    if (!pane?.below) return;
    const { width, height } = store.info, [x, y] = at.map((v, i) => Math.min([width, height][i] - 1, Math.floor(v)));
    const spread = spreadAt(x, y), { layer, name } = pane.seenAt(...at);
    const path = `${store.base}/layers/${layer.layer}/pixel?x=${x}&y=${y}${spread ? `&spread=${spread.name}` : ""}`;
    const found = await request("GET", path).catch(() => null);
    if (!found || at !== this.#at) return;
    const unedited = spread && !spread.edited && wanted({ kind: "stddev" }).edits.length > 0;
    $("#readout").textContent = (pane.above ? `${name}, ` : "") + inWords(x, y, found) + (unedited ? " (σ without the edits)" : "");
  }, 60);
}

function inWords(x, y, { value, stddev, interval }) {
  const names = value.length === 3 ? ["R", "G", "B"] : ["grey"];
  const parts = names.map((name, i) => {
    if (!stddev) return `${name} ${value[i]}`;
    const j = Math.min(i, stddev.length - 1);
    const within = interval ? `, 90 % ${interval[j].map((v) => v.toFixed(0)).join("–")}` : "";
    return `${name} ${value[i]}, σ ${stddev[j].toFixed(1)}${within}`;
  });
  const later = stddev ? "" : " (σ is not known yet)";
  return `x ${x}, y ${y}: ${parts.join("; ")}${later}`;
}

export const values = new Values();
