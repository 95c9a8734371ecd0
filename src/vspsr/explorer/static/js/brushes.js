// Brushes: what the pointer paints becomes an edit.

import { h, fromHex, guarded, say } from "./dom.js";
import { request } from "./api.js";
import { isMember, same } from "./layers.js";
import { newId, store } from "./store.js";
import { boxTool, drawBox, tools } from "./tools.js";
import { inView, view } from "./view.js";

const MOST = 200; // edits, and strokes of an edit: the server accepts no more

const BRUSHES = {
  more: { title: "More texture", colour: "#fde72580", make: () => ({ kind: "texture", factor: 1.5 }) },
  less: { title: "Less texture", colour: "#44015480", make: () => ({ kind: "texture", factor: 0.3 }) },
  colour: { title: "Colour of an area", make: (b) => ({ kind: "colour", value: b.rgb, stddev: b.strictness }) },
  brighter: { title: "Brighter", colour: "#ffffff80", make: (b) => ({ kind: "colour", change: 0.05, stddev: b.strictness }) },
  darker: { title: "Darker", colour: "#00000080", make: (b) => ({ kind: "colour", change: -0.05, stddev: b.strictness }) },
  scribble: { title: "Scribble", make: (b) => ({ kind: "scribble", value: b.rgb, stddev: b.strictness }) },
  eraser: { title: "Eraser", colour: "#ffffff80" },
};

class Brushes {
  #size = h("input", { type: "range", min: "1", max: "40", value: "4", "aria-label": "Size of the brush in pixels",
    oninput: () => this.#resize() });
  #colour = h("input", { type: "color", value: "#404040", "aria-label": "Colour of the brush" });
  #strict = h("input", { type: "range", min: "0.5", max: "40", step: "0.5", value: "8", "aria-label": "How exactly: error allowed, in levels of 255" });
  #buttons = new Map();
  #points = null;

  get rgb() {
    return fromHex(this.#colour.value);
  }

  get strictness() {
    return Number(this.#strict.value) / 255;
  }

  element() {
    const brush = ([name, { title }]) => this.#button(name, title, () => this.use(name));
    tools.onchange((tool) => {
      for (const [name, button] of this.#buttons) button.setAttribute("aria-pressed", String(tool?.name === name));
    });
    return h("div", { class: "brushes" },
      h("div", { class: "tools", role: "toolbar", "aria-label": "Brushes" }, ...Object.entries(BRUSHES).map(brush),
        this.#button("copy", "Copy a patch", () => this.copy()), this.#button("repeat", "Repeat this there", () => this.repeat())),
      h("label", {}, "Size ", this.#size), h("label", {}, "Colour ", this.#colour), h("label", {}, "Allowed error ", this.#strict));
  }

  #button(name, title, action) {
    const button = h("button", { "aria-pressed": "false", onclick: action }, title);
    this.#buttons.set(name, button);
    return button;
  }

  #resize() {
    if (tools.active?.brush) tools.active.radius = Number(this.#size.value);
    tools.draw();
  }

  use(name) {
    if (tools.active?.name === name) {
      tools.use(null);
      return;
    }
    let edit = null; // strokes of one use of a brush belong to one edit
    const radius = () => Number(this.#size.value);
    tools.use({
      name, brush: true, radius: radius(), hint: name === "eraser" ? "Wipe what was painted last." : "Paint on the picture.",
      down: (x, y) => { this.#points = [x, y]; },
      move: (x, y) => {
        const [lastX, lastY] = this.#points.slice(-2);
        if (Math.hypot(x - lastX, y - lastY) > Math.min(2, radius() / 2)) this.#points.push(x, y);
      },
      up: () => {
        const stroke = { points: this.#points.slice(0, 8000).map((v) => Math.round(10 * v) / 10), radius: radius(), erase: name === "eraser" };
        this.#points = null;
        if (name === "eraser") this.#erase(stroke);
        else edit = this.#paint(name, edit, stroke);
      },
      cancel: () => { this.#points = null; },
      draw: (context, pane) => this.#points && drawPath(context, pane, this.#points, radius(), BRUSHES[name].colour ?? this.#colour.value),
    });
  }

  /** A stroke as a new edit, or added to the one that this use of the brush began, if its settings are the same. */
  #paint(name, id, stroke) {
    const settings = BRUSHES[name].make(this);
    const old = store.doc.edits.find((edit) => edit.id === id);
    const fits = old && old.area.strokes.length < MOST && Object.entries(settings).every(([key, value]) => same(old[key], value));
    if (fits) return this.#extend(old, stroke);
    const made = { id: newId(), on: true, ...settings, area: { strokes: [stroke] } };
    // The mean has no texture to change: look at a sample.
    const sample = settings.kind === "texture" && ["mean", "lr", "bicubic"].includes(inView().kind);
    return add(made, sample ? { shown: { kind: "sample", seed: store.doc.seeds[0] } } : member());
  }

  /** Add a stroke to an edit: the edit's id. */
  #extend(old, stroke) {
    const extended = { ...old, area: { strokes: [...old.area.strokes, stroke] } };
    store.commit({ edits: store.doc.edits.map((edit) => (edit === old ? extended : edit)) });
    return old.id;
  }

  /** Wipe from the last painted edit. */
  #erase(stroke) {
    const last = store.doc.edits.findLast((edit) => edit.area);
    if (!last) return;
    if (last.area.strokes.length < MOST) this.#extend(last, stroke);
    else say(`The edit painted last has ${MOST} strokes, as many as it can: undo some, or remove it.`);
  }

  /** Box a patch of the picture that is shown, be it another one, then say where it goes. */
  copy() {
    const base = store.base;
    tools.use(boxTool("copy", "Drag a box around the patch to copy.", 1, guarded(async (rect) => {
      const { layer } = view;
      if (!layer) throw new Error("Wait until the picture is there.");
      const ratio = layer.width / store.info.width;
      const source = rect.map((v) => Math.max(0, Math.round(v * ratio)));
      const size = [0, 1].map((i) => Math.max(1, Math.min(source[i + 2], (i ? layer.height : layer.width) - source[i])));
      const clip = await request("POST", `${base}/clips`, { layer: layer.layer, rect: [source[0], source[1], ...size] });
      if (!isMember(inView())) store.amend({ shown: { kind: "mean" } });
      this.#place("copy", size, (to) => ({ kind: "copy", file: clip.file, source: [0, 0, ...size], to, stddev: this.strictness }));
    })));
  }

  repeat() {
    tools.use(boxTool("repeat", "Drag a box around what is to be repeated.", 1, ([left, top, width, height]) => {
      this.#place("repeat", [width, height], (to) => ({ kind: "repeat", source: [left, top, width, height], to, stddev: this.strictness }));
    }));
  }

  /** Choose where a patch goes: it follows the pointer, a press puts it there. */
  #place(name, [width, height], make) {
    let at = null;
    const corner = (x, y) => [
      Math.max(0, Math.min(store.info.width - width, Math.round(x - width / 2))),
      Math.max(0, Math.min(store.info.height - height, Math.round(y - height / 2)))];
    tools.use({
      name, hint: "Press where it goes.", follows: true,
      down: (x, y) => { at = corner(x, y); },
      move: (x, y) => { at = corner(x, y); },
      up: (x, y) => {
        const edit = { id: newId(), on: true, ...make(corner(x, y)) };
        tools.use(null);
        add(edit, member());
      },
      draw: (context, pane) => at && drawBox(context, pane, [...at, width, height], "#5ec962"),
    });
  }
}

/** Add an edit, and look at what it changes: its id, null if there are too many. */
function add(edit, shown) {
  const { edits } = store.doc;
  if (edits.length >= MOST) {
    say(`There are ${MOST} edits, as many as can be: remove some.`);
    return null;
  }
  store.commit({ edits: [...edits, edit], ...shown });
  return edit.id;
}

/** Edits show on members only: look at one. */
const member = () => (isMember(inView()) ? {} : { shown: { kind: "mean" } });

function drawPath(context, pane, points, radius, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 2 * radius * pane.zoom;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  for (let i = 0; i < points.length; i += 2) context.lineTo(...pane.toPane(points[i], points[i + 1]));
  if (points.length === 2) context.lineTo(...pane.toPane(points[0] + 0.01, points[1]));
  context.stroke();
}

export const brushes = new Brushes();
