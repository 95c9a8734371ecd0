// Samples: more of them, pin, compare, others like one, between two.

import { h, debounce, guarded, section } from "./dom.js";
import { request } from "./api.js";
import { isMember, layerOf, nameOf, same, thumbnail } from "./layers.js";
import { look } from "./look.js";
import { store } from "./store.js";
import { MOST, show } from "./view.js";

const ALIKE = 0.25; // how far others like one are from it, 1 being a sample of its own
const OTHERS = 100000; // seeds of others begin here

class Gallery {
  #grid = h("div", { class: "gallery" });
  #drawing = false; // thumbnails
  #from = h("select", { "aria-label": "Interpolate from" });
  #to = h("select", { "aria-label": "Interpolate to" });
  #between = h("div", { class: "between" });
  #slider = h("input", { type: "range", min: "0", max: "1", step: "0.05", value: "0", "aria-label": "From one to the other" });

  element() {
    store.onchange((doc, before) => this.#draw(doc, before));
    this.#slider.addEventListener("input", debounce(() => this.#interpolate(), 80));
    this.#between.append(h("label", {}, "From ", this.#from), h("label", {}, "to ", this.#to), this.#slider);
    return section("Samples", true,
      this.#grid, h("p", {}, h("button", { onclick: () => this.more() }, "More"),
        h("button", { onclick: () => look.compare(store.doc.pins.slice(0, MOST)) }, "Pinned side by side")),
      this.#between, h("div", { id: "background-jobs" }));
  }

  more() {
    const next = Math.max(0, ...store.doc.seeds) + 1;
    store.commit({ seeds: [...store.doc.seeds, next, next + 1, next + 2, next + 3] });
  }

  pin(member) {
    const { pins } = store.doc;
    const pinned = pins.some((other) => same(other, member));
    store.commit({ pins: pinned ? pins.filter((other) => !same(other, member)) : [...pins, member] });
  }

  /** Four others like a member. */
  #alike(member) {
    const next = Math.max(OTHERS, ...store.doc.likes.map((like) => like.b.seed + 1));
    const others = [0, 1, 2, 3].map((i) => ({ kind: "between", a: member, b: { kind: "sample", seed: next + i }, t: ALIKE }));
    store.commit({ likes: [...store.doc.likes, ...others] });
  }

  #interpolate() {
    const [a, b] = [this.#from, this.#to].map((select) => store.doc.pins[select.value]);
    const t = Number(this.#slider.value);
    if (!a || !b || same(a, b)) return;
    const member = t === 0 ? a : t === 1 ? b : { kind: "between", a, b, t };
    const before = store.doc.shown;
    const sliding = before.kind === "between" && same(before.a, a) && same(before.b, b);
    if (sliding) store.amend({ shown: member });
    else show(member);
  }

  #draw(doc, before) {
    const members = [...doc.seeds.map((seed) => ({ kind: "sample", seed })), ...doc.likes];
    if (isMember(doc.shown) && doc.shown.kind !== "mean" && !members.some((m) => same(m, doc.shown))) members.push(doc.shown);
    for (const pin of doc.pins) if (!members.some((m) => same(m, pin))) members.push(pin);
    const edits = JSON.stringify(doc.edits.filter((edit) => edit.on));
    const old = new Map([...this.#grid.children].map((child) => [child.dataset.key, child]));
    const cards = members.map((member) => {
      const key = `${store.info.session} ${JSON.stringify(member)}`;
      const card = old.get(key) ?? this.#card(member, key);
      card.update(doc, edits);
      return card;
    });
    if (cards.length !== old.size || cards.some((card, i) => card !== this.#grid.children[i])) this.#grid.replaceChildren(...cards);
    this.#thumbnails();
    const pinned = doc.pins.length >= 2;
    this.#between.hidden = !pinned;
    if (pinned && (!same(doc.pins, before.pins) || this.#from.options.length !== doc.pins.length)) {
      [this.#from, this.#to].forEach((select, i) => {
        select.replaceChildren(...doc.pins.map((pin, j) => h("option", { value: String(j), selected: j === i }, nameOf(pin))));
      });
    }
  }

  /** Thumbnails are made one after the other, so that none is asked for with edits that have changed since. */
  async #thumbnails() {
    if (this.#drawing) return;
    this.#drawing = true;
    for (let card; (card = [...this.#grid.children].find((one) => one.waits)); ) await card.redraw();
    this.#drawing = false;
  }

  /** A thumbnail does not come. Where it was cancelled, the others with these edits are not made either. */
  #failed(error, edits) {
    if (error.name === "Cancelled") {
      for (const card of this.#grid.children) if (card.waits === edits) card.waits = null;
    }
    throw error;
  }

  #card(member, key) {
    const image = h("img", { alt: "" });
    const title = nameOf(member);
    const chosen = () => {
      if (card.classList.contains("pending")) card.waits = wanted; // it may have been cancelled
      look.show(member);
    };
    const showing = h("button", { class: "picture", "aria-label": `Show ${title}`, onclick: chosen }, image);
    showing.style.aspectRatio = `${store.info.width} / ${store.info.height}`; // nothing moves when the thumbnail comes
    const pinned = h("button", { title: "Pin", "aria-label": `Pin ${title}`, onclick: () => this.pin(member) }, "Pin");
    const alike = h("button", { title: "Others like this", "aria-label": `Others like ${title}`, onclick: () => this.#alike(member) }, "≈");
    const card = h("figure", { "data-key": key }, showing, h("figcaption", {}, h("span", { title }, title), alike, pinned));
    let wanted = null; // edits
    card.update = (doc, edits) => {
      showing.setAttribute("aria-pressed", String(same(member, doc.shown)));
      pinned.setAttribute("aria-pressed", String(doc.pins.some((pin) => same(pin, member))));
      if (wanted === edits) return;
      card.waits = wanted = edits;
      card.classList.add("pending");
    };
    card.redraw = guarded(async () => {
      const edits = wanted;
      card.waits = null;
      const layer = await layerOf(member, true).catch((error) => this.#failed(error, edits));
      if (wanted !== edits) return;
      const url = URL.createObjectURL(await request("GET", thumbnail(layer), undefined, { raw: true }));
      image.src = url;
      image.onload = () => URL.revokeObjectURL(url);
      card.classList.remove("pending");
    });
    return card;
  }
}

export const gallery = new Gallery();
