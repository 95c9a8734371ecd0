// What can be looked at, by click or number key, and the ways to compare: curtain, lens, side by side.

import { $, h, byTouch, guarded, section } from "./dom.js";
import { upload } from "./api.js";
import { nameOf, same } from "./layers.js";
import { store } from "./store.js";
import { tools } from "./tools.js";
import { MOST, show, view } from "./view.js";

const FIXED = [{ kind: "lr" }, { kind: "bicubic" }, { kind: "mean" }, { kind: "stddev" }];

/** What the number keys show: 1 LR, 2 bicubic, 3 mean, 4 σ, then pinned members and own files. */
const numbered = () => [...FIXED, ...store.doc.pins, ...store.doc.files.map(({ file }) => ({ kind: "file", file }))];

/** Arrow keys or a finger move a cross: the values there, and the lens. */
const CROSS = { name: "values", passive: true };

class Look {
  #list = h("div", { class: "look", role: "group", "aria-label": "What is shown" });
  #behind = h("select", { "aria-label": "Compare with", onchange: () => view.setBehind(numbered()[this.#behind.value]) });
  #side = new Set(); // of members as text: shown side by side

  element() {
    store.onchange(() => this.draw());
    const input = h("input", { type: "file", accept: "image/*,.tif,.tiff", class: "visually-hidden",
      onchange: () => { this.add(input.files[0]); input.value = ""; } });
    return section("Look", true, this.#list,
      h("p", {}, h("label", { class: "button" }, "Add an own file…", input)),
      h("p", { class: "small" }, "Tick two to six to see them side by side. Keys 1–9 switch."));
  }

  toolbar() {
    const modes = { none: "Single", curtain: "Curtain", lens: "Lens" };
    this.modes = Object.entries(modes).map(([mode, title]) =>
      h("button", { "aria-pressed": String(mode === "none"), onclick: () => this.toggle(mode), "data-mode": mode }, title));
    const zooms = [["−", "Zoom out", "-"], ["+", "Zoom in", "+"], ["⌂", "Whole picture", "0"]].map(([text, title, key]) =>
      h("button", { title, "aria-label": title, onclick: () => view.key({ key }) }, text));
    const pan = h("button", { "aria-pressed": "true", onclick: () => tools.use(null) }, "Move");
    const cross = h("button", { "aria-pressed": "false", title: "Values at a cross", onclick: () => this.toggleCross() }, "Values");
    tools.onchange((tool) => {
      cross.setAttribute("aria-pressed", String(tool === CROSS));
      pan.setAttribute("aria-pressed", String(!tool));
      $("#hint").textContent = hintFor(tool);
    });
    return [pan, cross, ...zooms, h("span", { class: "space" }), ...this.modes,
      h("label", { class: "behind" }, "with ", this.#behind)];
  }

  toggleCross() {
    tools.use(tools.active === CROSS ? null : CROSS);
  }

  /** The curtain or the lens, or neither if it is there already. */
  toggle(mode) {
    this.setMode(view.mode === mode ? "none" : mode);
  }

  /** What can be moved gets the keys: the edge of the curtain, the lens. */
  setMode(mode) {
    const before = view.mode;
    this.compare([]);
    view.setMode(mode);
    tools.draw();
    this.#pressModes();
    if (mode === "curtain") view.curtain.focus();
    if (mode === "lens" && !tools.active) tools.use(CROSS);
    if (before === "lens" && mode !== "lens" && tools.active === CROSS) tools.use(null);
  }

  /** The picture under a number key. */
  press(index) {
    const member = numbered()[index];
    if (member) this.show(member);
  }

  /** Show a member alone. */
  show(member) {
    if (view.compared.length && same(member, store.doc.shown)) this.single();
    else show(member);
  }

  /** End side by side. */
  single() {
    if (view.compared.length) this.compare([]);
  }

  #pressModes() {
    for (const button of this.modes) button.setAttribute("aria-pressed", String(!view.compared.length && button.dataset.mode === view.mode));
  }

  draw() {
    const { shown } = store.doc;
    const all = numbered();
    const entries = all.some((member) => same(member, shown)) ? all : [...all, shown];
    this.#list.replaceChildren(...entries.map((member, i) => {
      const key = i < 9 && i < all.length ? String(i + 1) : "";
      const text = JSON.stringify(member);
      const checked = this.#side.has(text), disabled = !checked && this.#side.size >= MOST;
      const tick = h("input", { type: "checkbox", checked, disabled, "aria-label": `Side by side: ${nameOf(member)}`,
        onchange: () => { this.#side[tick.checked ? "add" : "delete"](text); this.#compare(); } });
      return h("div", { class: "entry" }, tick,
        h("button", { "aria-pressed": String(same(member, shown)), onclick: () => this.show(member) },
          h("kbd", {}, key), nameOf(member)));
    }));
    const chosen = all.findIndex((member) => same(member, view.behind));
    this.#behind.replaceChildren(...all.map((member, i) => h("option", { value: String(i), selected: i === chosen }, nameOf(member))));
  }

  /** Show members side by side, none to end that. */
  compare(members) {
    this.#side = new Set(members.map((member) => JSON.stringify(member)));
    this.#compare();
  }

  #compare() {
    view.compare([...this.#side].map((text) => JSON.parse(text)));
    tools.attach();
    this.#pressModes();
    this.draw();
  }

  reset() {
    this.#side.clear();
    view.mode = "none";
    view.behind = { kind: "bicubic" };
    this.#pressModes();
  }

  /** Another picture of the user's, beside the space's. */
  add = guarded(async (file) => {
    if (!file) return; // no file was chosen
    const { base } = store;
    const { file: name, title, width, height } = await upload(`${base}/files`, file);
    if (base === store.base) store.commit({ files: [...store.doc.files, { file: name, title, width, height }], shown: { kind: "file", file: name } });
  });
}

/** What can be done with a tool, and how it ends. */
function hintFor(tool) {
  if (!tool) return "";
  if (tool.passive) return byTouch() ? "A finger moves the cross." : "Arrow keys or a finger move the cross.";
  return `${tool.hint} ${byTouch() ? "Two fingers zoom and move; “Move” ends." : "Arrow keys and Space work too; Esc ends."}`;
}

export const look = new Look();
