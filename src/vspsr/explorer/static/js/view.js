// What is shown and how: one pane with a curtain or a lens, or several side by side that move together.

import { $, h, guarded } from "./dom.js";
import { Draft } from "./draft.js";
import { drop, isJpeg, isMember, layerOf, missed, nameOf, same, verdict } from "./layers.js";
import { Pane } from "./pane.js";
import { store } from "./store.js";
import { values } from "./values.js";

/** How many pictures have room side by side. */
export const MOST = 6;

const NOTHING = [{ kind: "nothing" }, {}];
const reduced = matchMedia("(prefers-reduced-motion: reduce)").matches;

class View {
  panes = [];
  behind = { kind: "bicubic" }; // the other picture of curtain and lens
  mode = "none";
  compared = []; // members side by side; empty for one pane
  #layer = null; // shown in the first pane
  #shown = NOTHING; // in the first pane: member and layer
  #turn = 0;
  onarrival = () => {}; // called with the member whose picture has arrived in the main pane

  get main() {
    return this.panes[0];
  }

  get layer() {
    return this.#layer;
  }

  start() {
    values.reset();
    this.#rebuild(1);
    this.refresh();
  }

  stop() {
    this.#turn += 1; // nothing that is under way is shown
    for (const pane of this.panes) pane.destroy();
    this.panes = [];
    this.#layer = null;
    this.#shown = NOTHING;
    this.compared = [];
    values.reset();
  }

  /** Make it so many panes; those that are there stay, with what they show. */
  #rebuild(count) {
    for (const pane of this.panes.splice(count)) {
      values.leave(pane, this.main);
      pane.destroy();
    }
    $("#panes").className = `count-${count}`;
    while (this.panes.length < count) this.#add();
  }

  #add() {
    const first = !this.panes.length;
    const label = h("figcaption", {});
    const element = h("div", { class: "view" });
    const figure = h("figure", { class: "pane", tabindex: "-1" }, element, label);
    $("#panes").append(figure);
    const pane = new Pane(element, { reduced });
    pane.figure = figure;
    pane.label = label;
    pane.onLost = () => this.refresh();
    pane.drafts = [new Draft(pane, 0, (name, made) => first && this.#drafted(name, made))];
    if (first) pane.drafts.push(new Draft(pane, 1, (name) => this.#drafted(name)));
    values.watch(pane);
    pane.viewer.addHandler("viewport-change", () => this.#follow(pane));
    if (first) this.#addCurtain(pane);
    else {
      pane.viewer.preserveViewport = true; // not the whole picture, but the part that the others show
      pane.viewer.world.addOnceHandler("add-item", () => this.#follow(this.main));
    }
    this.panes.push(pane);
  }

  /** All panes show the same part. */
  #follow(pane) {
    if (this.following || this.panes.length < 2) return;
    this.following = true;
    for (const other of this.panes) {
      if (other === pane) continue;
      other.magnification = pane.magnification;
      other.viewer.viewport.panTo(pane.viewer.viewport.getCenter(), true);
    }
    this.following = false;
  }

  #addCurtain(pane) {
    this.curtain = h("div", {
      class: "curtain", role: "slider", tabindex: "0", "aria-label": "Curtain", "aria-valuemin": "0",
      "aria-valuemax": "100", "aria-orientation": "horizontal", hidden: this.mode !== "curtain",
    });
    this.sides = h("div", { class: "sides", hidden: this.mode !== "curtain" }, h("span", {}), h("span", {}));
    const move = (share) => {
      pane.edge = Math.min(1, Math.max(0, share));
      this.curtain.style.left = `${100 * pane.edge}%`;
      this.sides.style.gridTemplateColumns = `${100 * pane.edge}% 1fr`;
      const percent = Math.round(100 * pane.edge);
      this.curtain.setAttribute("aria-valuenow", String(percent));
      this.curtain.setAttribute("aria-valuetext", `${percent} % from the left`);
      pane.reclip();
      values.read();
    };
    this.curtain.addEventListener("pointerdown", (event) => {
      this.curtain.setPointerCapture(event.pointerId);
      event.stopPropagation();
    });
    this.curtain.addEventListener("pointermove", (event) => {
      if (!this.curtain.hasPointerCapture(event.pointerId)) return;
      const box = pane.element.getBoundingClientRect();
      move((event.clientX - box.left) / box.width);
    });
    this.curtain.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      move(pane.edge + step);
    });
    pane.figure.append(this.sides, this.curtain);
    pane.mode = this.mode;
    move(0.5);
  }

  /** Look at the other picture: "none", "curtain", "lens". */
  setMode(mode) {
    this.mode = mode;
    this.main.mode = mode;
    this.main.reclip();
    this.curtain.hidden = this.sides.hidden = mode !== "curtain";
    this.refresh();
  }

  setBehind(member) {
    this.behind = member;
    this.refresh();
  }

  /** Show members side by side, 2 … 6; fewer for one pane. */
  compare(members) {
    this.compared = members.length > 1 ? members.slice(0, MOST) : [];
    const count = this.compared.length || 1;
    if (count !== this.panes.length) this.#rebuild(count);
    if (this.compared.length) this.setMode("none");
    else this.refresh();
  }

  /** Ask for the pictures of what is to be shown. */
  refresh = guarded(async () => {
    if (!this.panes.length) return;
    const turn = (this.#turn += 1);
    const members = this.compared.length ? this.compared.slice() : [inView()];
    const above = this.mode === "none" ? [] : [this.behind]; // the curtain or in the lens
    $("#badge").classList.add("pending");
    drop([...members, ...above]);
    if (!above.length) {
      this.main.above = null;
      this.main.drafts[1].stop();
      this.main.show(null, 1);
    }
    const below = members.map((member, i) => this.#place(member, this.panes[i], 0));
    const measured = [below[0], ...above.map((member) => this.#place(member, this.main, 1))];
    const badge = Promise.all(measured).then((pictures) => turn === this.#turn && this.#measured(pictures));
    try {
      await Promise.all([...below, badge]);
    } catch (error) {
      if (turn === this.#turn) this.#missed(error);
      throw error;
    }
  });

  /** Show a member in a pane, below (0) or above (1): it and its layer, null if another one is wanted by then. */
  async #place(member, pane, slot) {
    const turn = this.#turn, first = pane === this.main;
    pane.drafts[slot].start(member);
    const layer = await layerOf(member), arrived = { layer, name: nameOf(member) };
    if (turn !== this.#turn) return null;
    if (!slot) {
      if (first) this.#layer = layer;
      pane.below = arrived;
      pane.label.textContent = this.compared.length ? caption([member, layer]) : "";
    }
    await pane.show(layer, slot);
    if (turn !== this.#turn) return null;
    pane.drafts[slot].stop();
    if (slot) {
      pane.above = arrived;
      this.sides.children[1].textContent = arrived.name;
      values.read();
    } else if (first) this.#arrived(layer, member);
    return [member, layer];
  }

  #drafted(name, made = null) {
    if (made) this.#legend(inView(), made);
    else this.#legend(...this.#shown);
    values.read();
    const badge = $("#badge");
    badge.classList.remove("exact", "wrong");
    badge.textContent = name;
    badge.title = "The exact picture is being made";
  }

  /** The picture wanted does not come. */
  #missed(error) {
    // Drafts of a large picture go on without the exact one.
    if (!store.info.large || error.name !== "Cancelled") {
      for (const draft of this.panes.flatMap((pane) => pane.drafts)) draft.stop();
      this.#legend(...this.#shown);
    }
    const badge = $("#badge");
    badge.classList.remove("pending", "exact", "wrong");
    badge.textContent = error.name === "Cancelled" ? "Cancelled: an earlier picture is shown" : "An earlier picture is shown";
    badge.title = "Choose the picture again to try once more";
  }

  /** What the badge says of a picture, or of both with a curtain or a lens: members and their layers. */
  #measured(pictures) {
    const badge = $("#badge");
    const wrong = pictures.map(([, layer]) => missed(layer)).filter((count) => count !== undefined);
    badge.classList.remove("pending");
    badge.classList.toggle("exact", wrong.length > 0 && wrong.every((count) => count === 0));
    badge.classList.toggle("wrong", wrong.some((count) => count > 0));
    const [[member, layer]] = pictures;
    badge.textContent = pictures.length > 1 ? pictures.map(caption).join("; ") : verdict(layer) || nameOf(member);
    const how = isJpeg() ? "saved with the tables of the JPEG, and compared with its coefficients" : "compared with the LR picture";
    badge.title = wrong.length ? `Measured: ${wrong.length > 1 ? "each picture" : "this picture"} was downscaled and ${how}` : "";
  }

  #arrived(layer, member) {
    this.#shown = [member, layer];
    this.sides.children[0].textContent = nameOf(member);
    this.#legend(member, layer);
    values.read();
    this.onarrival(member);
  }

  #legend(member, layer) {
    const legend = $("#legend");
    legend.hidden = member.kind !== "stddev";
    legend.replaceChildren(h("span", {}, "σ 0"), h("i", { class: "scale" }), h("span", {}, `${layer.end ?? ""} levels of 255${layer.edited ? ", given the edits" : ""}`));
  }

  /** Keys that change the view; true if this was one. */
  key(event) {
    const viewport = this.main?.viewer.viewport;
    if (!viewport) return false;
    const step = 0.15 / viewport.getZoom();
    const pan = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (pan) viewport.panBy(new OpenSeadragon.Point(...pan));
    else if (event.key === "+" || event.key === "=") viewport.zoomBy(1.4);
    else if (event.key === "-") viewport.zoomBy(1 / 1.4);
    else if (event.key === "0") viewport.goHome();
    else return false;
    viewport.applyConstraints();
    return true;
  }
}

/** A picture in words: its name, and how many values are wrong. */
const caption = ([member, layer]) => [nameOf(member), verdict(layer)].filter(Boolean).join(": ");

/* global OpenSeadragon */

export const view = new View();

/** Show a member, as a step that can be undone. */
export function show(member) {
  if (same(store.doc.shown, member)) view.refresh(); // it may have been cancelled
  else store.commit({ shown: member });
}

/** What the first pane is to show. */
export const inView = () => view.compared[0] ?? store.doc.shown;

/** A member of the space: the one in view if it is one, else the mean. */
export const currentMember = () => (isMember(inView()) ? inView() : { kind: "mean" });
