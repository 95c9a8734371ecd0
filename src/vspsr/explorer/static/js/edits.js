// Edits: a list of conditions that can be switched off, changed and reordered, each with how unlikely it is.

import { h, fromHex, guarded, section, toHex } from "./dom.js";
import { run } from "./api.js";
import { brushes } from "./brushes.js";
import { same, wanted } from "./layers.js";
import { store } from "./store.js";
import { drawBox, tools } from "./tools.js";
import { show, view } from "./view.js";

const NAMES = { texture: "Texture", colour: "Colour", scribble: "Scribble", copy: "Copied patch", repeat: "Repeat" };

const nameOfEdit = (edit) => {
  if (edit.kind === "texture") return edit.factor > 1 ? "More texture" : "Less texture";
  if (edit.kind === "colour" && edit.value === undefined) return edit.change > 0 ? "Brighter" : "Darker";
  return NAMES[edit.kind];
};

class EditsPanel {
  #list = h("ol", { class: "edits", "aria-label": "Edits" });
  #spread = h("button", { hidden: true, onclick: () => show({ kind: "stddev" }) }, "σ with these edits");
  #unlikely = new Map(); // edit as text → { sigma, missed, where }
  #worst = null; // HR pixel that is outlined: where an edit is missed most
  #skipped = new Set(); // edits as text of which this was cancelled or failed

  element() {
    tools.marks.push((context, pane) => {
      if (!this.#worst) return;
      const [x, y] = this.#worst, around = Math.max(1.5, 12 / pane.zoom);
      drawBox(context, pane, [x - around, y - around, 1 + 2 * around, 1 + 2 * around], "#fff");
    });
    store.onchange((doc, before) => {
      this.#draw(doc);
      if (!same(doc.edits, before.edits)) this.#measure();
    });
    return section("Edit", false, brushes.element(), this.#list, h("p", {}, this.#spread),
      h("p", { class: "small" }, "σ: how far an edit lies from what the model expects, root mean square. About 1 is usual, " +
        "above 3 is unlikely. “Contradicts” means that the LR picture forbids it: allow more error. " +
        "Its button outlines where it is missed most."));
  }

  change(id, changes) {
    store.commit({ edits: store.doc.edits.map((edit) => (edit.id === id ? { ...edit, ...changes } : edit)) });
  }

  #move(index, step) {
    const edits = [...store.doc.edits];
    const [edit] = edits.splice(index, 1);
    edits.splice(index + step, 0, edit);
    store.commit({ edits });
    this.#list.children[index + step]?.querySelector(step < 0 ? ".up" : ".down")?.focus();
  }

  /** Outline a place, null for none. */
  #mark(place) {
    this.#worst = place;
    if (place) view.main.reveal(place[0] + 0.5, place[1] + 0.5);
    tools.draw();
  }

  #draw(doc) {
    if (this.#worst) this.#mark(null); // what had the focus is replaced
    this.#spread.hidden = !wanted({ kind: "stddev" }).edits.length;
    this.#list.replaceChildren(...doc.edits.map((edit, i) => this.#row(edit, i, doc.edits.length)));
  }

  #row(edit, i, count) {
    const name = nameOfEdit(edit);
    const button = (text, title, action, disabled, kind) =>
      h("button", { class: kind, title, "aria-label": `${title}: ${name} ${i + 1}`, disabled, onclick: action }, text);
    const on = h("input", { type: "checkbox", checked: edit.on, "aria-label": `${name} ${i + 1} is on`,
      onchange: () => this.change(edit.id, { on: on.checked }) });
    return h("li", { class: edit.on ? "" : "off" }, on, h("span", { class: "name" }, name), this.#sigma(edit, `${name} ${i + 1}`), ...this.#settings(edit, name),
      h("span", { class: "order" },
        button("↑", "Move up", () => this.#move(i, -1), i === 0, "up"),
        button("↓", "Move down", () => this.#move(i, 1), i === count - 1, "down"),
        button("×", "Remove", () => store.commit({ edits: store.doc.edits.filter((other) => other.id !== edit.id) }), false, "remove")));
  }

  /** What can be changed about an edit. */
  #settings(edit, name) {
    const range = (key, min, max, step, title = "Strength", text = title, unit = 1) => {
      const input = h("input", { type: "range", min, max, step, value: String(unit * edit[key]), "aria-label": `${title}: ${name}`,
        onchange: () => this.change(edit.id, { [key]: Number(input.value) / unit }) });
      return h("label", { title }, text, input);
    };
    if (edit.kind === "texture") return [range("factor", "0", "2", "0.1")];
    const error = range("stddev", "0.5", "40", "0.5", "Allowed error", "Error", 255);
    if (edit.kind === "colour" && edit.value === undefined) return [range("change", "-0.3", "0.3", "0.01"), error];
    if (!edit.value) return [error];
    const colour = h("input", { type: "color", value: toHex(edit.value), "aria-label": `Colour: ${name}`,
      onchange: () => this.change(edit.id, { value: fromHex(colour.value) }) });
    return [colour, error];
  }

  #sigma(edit, name) {
    const own = keyOf(edit), found = this.#unlikely.get(own);
    if (!edit.on) return h("output", { class: "sigma" });
    if (edit.kind === "texture") {
      return h("output", { class: "sigma", title: "It changes how much samples vary, and asks nothing of them" }, "no condition");
    }
    if (this.#skipped.has(own)) {
      return h("button", { "aria-label": `How unlikely: ${name}`, title: "How unlikely", onclick: () => {
        this.#skipped.delete(own);
        this.#draw(store.doc);
        this.#measure();
      } }, "σ?");
    }
    if (!found) return h("output", { class: "sigma" }, "…");
    const level = found.missed > 5 ? "contradicts" : found.sigma > 3 ? "unlikely" : "likely";
    const text = `${found.sigma.toFixed(1)} σ`, title = `missed by at most ${found.missed.toFixed(1)} of its own σ`;
    if (level !== "contradicts") return h("output", { class: `sigma ${level}`, title }, text);
    const [x, y] = found.where;
    return h("button", { class: `sigma ${level}`, title: `${title}, at x ${x}, y ${y}`, onfocus: () => this.#mark(found.where),
      onblur: () => this.#mark(null), onclick: (event) => event.currentTarget.focus() }, `${text}, contradicts at x ${x}, y ${y}`);
  }

  #measure = guarded(async () => {
    const isWanted = (own) => !this.#unlikely.has(own) && !this.#skipped.has(own);
    const edits = store.doc.edits.filter((edit) => edit.on && edit.kind !== "texture" && isWanted(keyOf(edit)));
    if (!edits.length) return;
    const keys = new Map(edits.map((edit) => [edit.id, keyOf(edit)]));
    try {
      for (const report of await run(store.base, "unlikeliness", edits)) this.#unlikely.set(keys.get(report.id), report);
    } catch (error) {
      for (const own of keys.values()) this.#skipped.add(own);
      throw error;
    } finally {
      this.#draw(store.doc);
    }
  });
}

const keyOf = ({ id, on, ...rest }) => store.info.session + JSON.stringify(rest);

export const editsPanel = new EditsPanel();
