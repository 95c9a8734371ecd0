// The pointer on the picture: a tool takes it over from panning. Keys move a cross instead, Space presses it.
// A passive tool leaves the mouse to panning; a finger moves its cross.

import { h } from "./dom.js";
import { store } from "./store.js";
import { values } from "./values.js";
import { view } from "./view.js";

class Tools {
  active = null; // { name, hint, cursor radius in HR pixels, down, move, up, draw, follows: before it is pressed, too }, or { name, passive: true }
  #canvas = h("canvas", { class: "overlay", "aria-hidden": "true" });
  #cross = null; // HR coordinates of the cross that keys move, or a finger has tapped
  #pressed = false;
  #at = null; // HR coordinates of the pointer
  #fingers = new Map(); // pointer that is down → where, in the pane
  #gesture = false; // a second finger has come: nothing is painted until all are lifted
  #opener = null; // what had the focus before a tool took it
  #listeners = [];

  onchange(listener) {
    this.#listeners.push(listener);
  }

  /** Take up a tool, null to pan. */
  use(tool) {
    this.active?.cancel?.();
    this.active = tool;
    this.#cross = null;
    this.#pressed = false;
    this.attach();
    if (tool?.passive) this.#look(this.#start());
    for (const listener of this.#listeners) listener(tool);
    this.#focus();
  }

  /** A tool that is pressed takes the focus, so that Space does not press the button that chose it; then gives it back. */
  #focus() {
    const picture = view.main?.figure, here = document.activeElement;
    if (this.active && !this.active.passive) {
      if (here !== picture) this.#opener = here;
      picture.focus({ preventScroll: true });
    } else if (here === picture) this.#opener?.focus({ preventScroll: true });
  }

  /** Where the cross appears. */
  #start() {
    const inset = this.active.passive ? 0.5 : 0; // pixels are looked at in their middles
    return view.main.middle.map((v) => (inset ? Math.floor(v) + inset : Math.round(v)));
  }

  #look(at, options = { marked: true, spoken: true }) {
    values.look(view.main, at, options);
  }

  /** Lay the drawing surface over the main pane. */
  attach() {
    const pane = view.main;
    if (!pane) return;
    if (this.#canvas.parentElement !== pane.figure) {
      pane.figure.append(this.#canvas);
      for (const event of ["animation", "resize"]) pane.viewer.addHandler(event, () => this.draw());
      new ResizeObserver(() => this.draw()).observe(pane.figure);
      if (this.#cross && this.active?.passive) this.#look(this.#cross, { marked: true });
      else values.reset();
    }
    for (const one of view.panes) one.pans = !this.active?.passive;
    pane.onclip = () => this.draw();
    this.#canvas.classList.toggle("active", Boolean(this.active && !this.active.passive));
    this.draw();
  }

  start() {
    const canvas = this.#canvas;
    values.onchange = (at) => {
      this.#cross = at;
      this.draw();
    };
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const at = (event) => view.main.toImage(...place(event));
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.active) return;
      canvas.setPointerCapture(event.pointerId);
      this.#fingers.set(event.pointerId, place(event));
      this.#gesture = this.#fingers.size > 1;
      if (this.#gesture) {
        this.#drop();
        return;
      }
      this.#at = at(event);
      this.#press();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.active) return;
      if (this.#gesture) {
        if (this.#fingers.has(event.pointerId)) this.#pinch(event.pointerId, place(event));
        return;
      }
      if (this.#fingers.has(event.pointerId)) this.#fingers.set(event.pointerId, place(event));
      const coalesced = event.getCoalescedEvents?.() ?? [];
      for (const one of coalesced.length ? coalesced : [event]) this.#at = at(one), this.#move();
      this.#look(this.#at, {});
    });
    const lift = (event) => {
      this.#fingers.delete(event.pointerId);
      if (this.#gesture) view.main?.viewer.viewport.applyConstraints();
    };
    canvas.addEventListener("pointerup", (event) => {
      lift(event);
      this.#release();
    });
    canvas.addEventListener("pointercancel", (event) => {
      lift(event);
      this.#drop();
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoomAt(place(event), event.deltaY < 0 ? 1.2 : 1 / 1.2);
      view.main.viewer.viewport.applyConstraints();
    }, { passive: false });
  }

  /** One of two fingers has moved: what lies between them follows. */
  #pinch(finger, to) {
    const other = [...this.#fingers].find(([id]) => id !== finger)?.[1];
    const from = this.#fingers.get(finger);
    this.#fingers.set(finger, to);
    if (!other) return;
    const [before, after] = [from, to].map(([x, y]) => ({
      middle: [(x + other[0]) / 2, (y + other[1]) / 2], distance: Math.max(1, Math.hypot(x - other[0], y - other[1])),
    }));
    const { viewport } = view.main.viewer;
    const shift = new OpenSeadragon.Point(before.middle[0] - after.middle[0], before.middle[1] - after.middle[1]);
    viewport.panBy(viewport.deltaPointsFromPixels(shift, true), true);
    zoomAt(after.middle, after.distance / before.distance, true);
    this.draw();
  }

  /** Forget what is being drawn. */
  #drop() {
    if (this.#pressed) this.active?.cancel?.();
    this.#pressed = false;
    this.draw();
  }

  #press() {
    this.#pressed = true;
    this.active.down(...this.#at);
    this.draw();
  }

  #move() {
    if (this.#pressed || this.active.follows) this.active.move(...this.#at);
  }

  #release() {
    if (!this.#pressed) return;
    this.#pressed = false;
    this.active?.up(...this.#at);
    this.draw();
  }

  /** Arrow keys and Space while a tool is active; true if this was one of them. */
  key(event) {
    if (!this.active) return false;
    const step = event.shiftKey ? 1 : 4;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (event.key === "Escape") this.use(null);
    else if (event.key === " " && !this.active.passive) {
      this.#cross ??= this.#start();
      this.#at = this.#cross;
      if (this.#pressed) this.#release();
      else this.#press();
      if (this.#pressed && this.active.follows) this.#release(); // it has followed the cross: once is enough
    } else if (move) {
      const inset = this.active.passive ? 0.5 : 0;
      const limit = [store.info.width - inset, store.info.height - inset];
      this.#at = (this.#cross ?? this.#start()).map((v, i) => Math.min(limit[i], Math.max(inset, v + move[i])));
      this.#move();
      view.main.reveal(...this.#at);
      this.#look(this.#at);
    } else return false;
    this.draw();
    return true;
  }

  draw() {
    const canvas = this.#canvas;
    const { clientWidth: width, clientHeight: height } = canvas;
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!view.main?.below) return;
    for (const mark of this.marks) mark(context, view.main);
    this.active?.draw?.(context, view.main);
    const at = this.#cross ?? (this.active?.radius ? this.#at : null);
    if (at) drawCursor(context, view.main, at, this.active?.radius, Boolean(this.#cross));
  }

  marks = [drawLens]; // drawn whether or not a tool is active
}

/* global OpenSeadragon */

/** Zoom about a point of the main pane. */
function zoomAt(point, factor, immediately = false) {
  const { viewport } = view.main.viewer;
  viewport.zoomBy(factor, viewport.pointFromPixel(new OpenSeadragon.Point(...point), immediately), immediately);
}

function drawCursor(context, pane, at, radius, cross) {
  const [x, y] = pane.toPane(...at);
  context.strokeStyle = "#fff";
  context.lineWidth = 1.5;
  context.shadowColor = "#000";
  context.shadowBlur = 2;
  context.beginPath();
  if (radius) context.arc(x, y, radius * pane.zoom, 0, 2 * Math.PI);
  if (cross || !radius) {
    context.moveTo(x - 12, y), context.lineTo(x + 12, y);
    context.moveTo(x, y - 12), context.lineTo(x, y + 12);
  }
  context.stroke();
  context.shadowBlur = 0;
}

/** The edge of the lens. */
function drawLens(context, pane) {
  if (pane.lensBox) strokeBox(context, ...pane.lensBox, "#fff");
}

/** Outline a rectangle [left, top, width, height] of HR pixels. */
export function drawBox(context, pane, [left, top, width, height], colour) {
  const [x0, y0] = pane.toPane(left, top);
  const [x1, y1] = pane.toPane(left + width, top + height);
  strokeBox(context, x0, y0, x1, y1, colour);
}

function strokeBox(context, x0, y0, x1, y1, colour) {
  for (const [width, style] of [[3, "#000a"], [1.5, colour]]) {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
}

/** A tool that drags a box; ``done([left, top, width, height])`` in whole HR pixels, multiples of ``step``. */
export function boxTool(name, hint, step, done) {
  let from = null, to = null;
  const clamp = (v, most) => Math.min(most, Math.max(0, v));
  const box = () => {
    const { width, height } = store.info;
    const [xs, ys] = [[from[0], to[0], width], [from[1], to[1], height]].map(([a, b, most]) => {
      const low = Math.floor(clamp(Math.min(a, b), most - step) / step) * step;
      return [low, Math.max(low + step, Math.min(most, Math.ceil(clamp(Math.max(a, b), most) / step) * step))];
    });
    return [xs[0], ys[0], xs[1] - xs[0], ys[1] - ys[0]];
  };
  return {
    name, hint,
    down: (x, y) => { from = to = [x, y]; },
    move: (x, y) => { to = [x, y]; },
    up: (x, y) => { to = [x, y]; const found = box(); from = null; done(found); },
    cancel: () => { from = null; },
    draw: (context, pane) => from && drawBox(context, pane, box(), "#fff"),
  };
}

export const tools = new Tools();
