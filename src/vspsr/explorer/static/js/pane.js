// One view of the picture: OpenSeadragon with one layer, or two with a curtain or a lens between them.

import { forget, tileSource } from "./layers.js";
import { store } from "./store.js";

/* global OpenSeadragon */

const LENS = 90; // pixels of the screen from the middle of the lens to its edge
const EDGE = 16; // pixels of the screen between what is revealed and the edge

export class Pane {
  #items = [null, null]; // below, above
  #wanted = [null, null];

  constructor(element, { reduced }) {
    this.element = element;
    this.drafts = []; // of the picture below, and of that above where there can be one
    this.viewer = new OpenSeadragon.Viewer({
      loadTilesWithAjax: true, // so that closing a picture ends them
      element, drawer: "canvas", showNavigationControl: false, imageSmoothingEnabled: true,
      maxZoomPixelRatio: 40, minZoomImageRatio: 0.5, visibilityRatio: 0.5, animationTime: reduced ? 0 : 0.35,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true, pinchToZoom: true },
      crossOriginPolicy: false, immediateRender: true, autoResize: false,
    });
    this.resizes = new ResizeObserver(() => this.#resized());
    this.resizes.observe(element);
    this.viewer.innerTracker.keyHandler = null; // keys belong to the page
    this.viewer.innerTracker.keyDownHandler = null;
    for (const event of ["animation", "resize", "open", "zoom", "pan"]) this.viewer.addHandler(event, () => this.reclip());
    this.viewer.addHandler("tile-load-failed", ({ tiledImage }) => this.#lost(tiledImage.source.layer));
    this.mode = "none"; // or "curtain", "lens"
    this.edge = 0.5; // of the curtain, as a share of the pane's width
    this.lens = null; // HR coordinates of its middle
    this.standIn = false; // what is shown stands in for a picture that is to come
    this.below = null; // { layer, name }: what has arrived, as the server describes it
    this.above = null; // the same of the other picture of a curtain or a lens
  }

  #resized() {
    const { viewport } = this.viewer, { clientWidth, clientHeight } = this.element;
    if (!clientWidth || !clientHeight) return; // hidden
    const { magnification } = this, centre = viewport.getCenter();
    viewport.resize(new OpenSeadragon.Point(clientWidth, clientHeight));
    this.magnification = magnification;
    viewport.panTo(centre, true);
  }

  /** How much larger the picture is than if all of it were visible: the same when the pane's size changes. */
  get magnification() {
    const { viewport } = this.viewer;
    return viewport.getZoom() / viewport.getHomeZoom();
  }

  set magnification(value) {
    const { viewport } = this.viewer;
    viewport.zoomTo(value * viewport.getHomeZoom(), null, true);
  }

  /** Show the LR picture, smoothed, until there is a picture to show. */
  stand(layer) {
    if (this.#wanted[0]) return;
    this.show(layer);
    this.standIn = true;
  }

  /** Show a layer below (0) or above (1) the curtain; null for none above. */
  show(layer, slot = 0) {
    if (slot === 0) this.standIn = false;
    const name = layer && `${store.info.session} ${layer.layer}`;
    if (this.#wanted[slot] === name) return Promise.resolve();
    this.#wanted[slot] = name;
    if (!layer) {
      if (this.#items[slot]) this.viewer.world.removeItem(this.#items[slot]);
      this.#items[slot] = null;
      return Promise.resolve();
    }
    return new Promise((done) => {
      this.viewer.addTiledImage({
        tileSource: tileSource(layer), x: 0, y: 0, width: 1,
        success: ({ item }) => this.#arrived(item, name, slot, done),
        error: () => done(),
      });
    });
  }

  /** The server keeps a layer no more: `onLost`, if it is still shown. */
  async #lost(layer) {
    const slot = this.#wanted.indexOf(`${store.info.session} ${layer}`);
    if (!(await forget(layer)) || slot < 0) return;
    this.#wanted[slot] = null;
    this.onLost();
  }

  #arrived(item, name, slot, done) {
    const world = this.viewer.world;
    if (this.#wanted[slot] !== name) {
      world.removeItem(item);
      done();
      return;
    }
    const finish = () => {
      if (this.#wanted[slot] !== name) {
        if (world.getIndexOfItem(item) >= 0) world.removeItem(item);
      } else {
        const old = this.#items[slot];
        this.#items[slot] = item;
        if (old && world.getIndexOfItem(old) >= 0) world.removeItem(old);
        this.#order();
      }
      done();
    };
    // The old picture stays below until the new one is there: no flicker.
    this.#order(item, slot);
    if (item.getFullyLoaded()) finish();
    else item.addOnceHandler("fully-loaded-change", finish);
  }

  #order(arriving, slot) {
    const world = this.viewer.world;
    const above = slot === 1 ? arriving : null;
    const top = [this.#items[1], above].filter((item) => item && world.getIndexOfItem(item) >= 0);
    for (const item of top) world.setItemIndex(item, world.getItemCount() - 1);
    this.reclip(arriving && slot === 1 ? arriving : null);
    this.#smooth();
  }

  /** LR pixels stay squares, and so do HR pixels that are magnified. */
  #smooth() {
    const item = this.#items[0];
    const zoom = this.zoom;
    const blocks = item && item.getContentSize().x < store.info.width;
    this.viewer.drawer.setImageSmoothingEnabled(this.standIn || (!blocks && zoom < 2));
  }

  /** Pixels of the screen for an HR pixel. */
  get zoom() {
    const viewport = this.viewer.viewport;
    return viewport.getContainerSize().x * viewport.getZoom(true) / store.info.width;
  }

  /** Cut the upper layer to its side of the curtain, or to the lens. */
  reclip(more = null) {
    this.#smooth();
    for (const item of [this.#items[1], more]) {
      if (item) item.setClip(this.#clip(item));
    }
    for (const draft of this.drafts) draft.reclip();
    this.onclip?.();
  }

  #clip(item) {
    const { x: width } = item.getContentSize(), scale = width / store.info.width;
    const [left, top, right, bottom] = this.#upper.map((v) => Math.max(0, scale * v));
    return new OpenSeadragon.Rect(left, top, Math.max(0, Math.min(right, width) - left), bottom - top);
  }

  /** The CSS clip-path of an image over a part of the picture, in the place of the layer below (0) or above (1). */
  cutOf(slot, { left, top, width, height }) {
    const [l, t, r, b] = this.#upper.map((v, i) => 100 * (i % 2 ? (v - top) / height : (v - left) / width));
    if (slot) return `inset(${t}% ${100 - r}% ${100 - b}% ${l}%)`;
    const hole = [[l, t], [r, t], [r, b], [l, b], [l, t]].map(([x, y]) => `${x}% ${y}%`);
    return `polygon(evenodd, 0 0, 100% 0, 100% 100%, 0 100%, 0 0, ${hole.join(", ")})`;
  }

  /** What is seen at HR coordinates, `below` or `above`. */
  seenAt(x, y) {
    const [left, top, right, bottom] = this.#upper;
    return this.above && x >= left && x < right && y >= top && y < bottom ? this.above : this.below;
  }

  /** Left, top, right and bottom, in HR coordinates, of where the upper layer is seen: its side of the curtain, or the lens. */
  get #upper() {
    const { clientWidth, clientHeight } = this.element;
    const box = this.mode === "curtain" ? [this.edge * clientWidth, 0, clientWidth, clientHeight] : this.lensBox;
    return box ? [...this.toImage(box[0], box[1]), ...this.toImage(box[2], box[3])] : [0, 0, 0, 0];
  }

  /** Left, top, right and bottom of the lens in the pane; null if there is none. */
  get lensBox() {
    if (this.mode !== "lens" || !this.lens) return null;
    const [x, y] = this.toPane(...this.lens);
    return [x - LENS, y - LENS, x + LENS, y + LENS];
  }

  /** Whether a finger that is dragged moves the picture. */
  get pans() {
    return this.viewer.gestureSettingsTouch.dragToPan;
  }

  set pans(on) {
    this.viewer.gestureSettingsTouch.dragToPan = on;
  }

  /** Move the picture as far as HR coordinates need to be visible. */
  reveal(x, y) {
    const at = this.toPane(x, y, false), { clientWidth, clientHeight } = this.element; // when it has come to rest
    const over = [clientWidth, clientHeight].map((most, i) => Math.min(0, at[i] - EDGE) + Math.max(0, at[i] - most + EDGE));
    if (over.every((v) => v === 0)) return;
    const { viewport } = this.viewer;
    viewport.panBy(viewport.deltaPointsFromPixels(new OpenSeadragon.Point(...over)), true);
  }

  /** HR pixel coordinates of a point of the pane. */
  toImage(x, y) {
    const point = this.viewer.viewport.pointFromPixel(new OpenSeadragon.Point(x, y), true);
    return [point.x * store.info.width, point.y * store.info.width];
  }

  /** The point of the pane where HR coordinates lie. */
  toPane(x, y, now = true) {
    const point = new OpenSeadragon.Point(x / store.info.width, y / store.info.width);
    const pixel = this.viewer.viewport.pixelFromPoint(point, now);
    return [pixel.x, pixel.y];
  }

  /** The HR pixel in the middle. */
  get middle() {
    return this.toImage(this.element.clientWidth / 2, this.element.clientHeight / 2);
  }

  destroy() {
    for (const draft of this.drafts) draft.stop();
    this.resizes.disconnect();
    this.viewer.destroy();
    this.figure.remove();
  }
}
