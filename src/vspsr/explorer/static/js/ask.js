// Two candidates for a region: which does the picture support?

import { h, guarded, section, say } from "./dom.js";
import { run, upload } from "./api.js";
import { editsOn, isJpeg, isMember, nameOf } from "./layers.js";
import { regionPanel } from "./region.js";
import { store } from "./store.js";

const EMPTY = "drop a file, or:";

class AskPanel {
  #candidates = [null, null];
  #boxes = [];
  #answer = h("output", { class: "answer", "aria-live": "polite" });

  element() {
    this.#boxes = ["A", "B"].map((name, i) => this.#box(name, i));
    store.onchange(() => this.#boxes.forEach((box) => box.update()));
    return section("Ask", false,
      h("p", { class: "small" }, "Box a region, then give two candidates for it: a file of the region, or a pinned picture. " +
        "Is it a 3 or an 8?"),
      h("div", { class: "candidates" }, ...this.#boxes),
      h("p", {}, h("button", { onclick: () => this.ask() }, "Which is supported?")), this.#answer);
  }

  #box(name, i) {
    const title = h("strong", {}, name);
    const input = h("input", { type: "file", accept: "image/*,.tif,.tiff", class: "visually-hidden", "aria-label": `File of candidate ${name}`,
      onchange: () => { this.#take(i, input.files[0]); input.value = ""; } });
    const text = h("span", {}, EMPTY);
    const select = h("select", { "aria-label": `Candidate ${name}`, onchange: () => {
      const choice = select.selectedOptions[0]?.member;
      this.#set(i, choice ?? null, choice ? nameOf(choice) : EMPTY);
    } });
    const box = h("div", { class: "candidate" }, title, text, h("label", { class: "button" }, "Choose a file…", input), select);
    box.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      this.#take(i, event.dataTransfer.files[0]);
    });
    box.text = text;
    box.update = () => {
      const members = [{ kind: "mean" }, ...store.doc.pins, ...(isMember(store.doc.shown) ? [store.doc.shown] : [])];
      select.replaceChildren(h("option", {}, "choose…"), ...members.map((member) =>
        Object.assign(h("option", {}, nameOf(member)), { member })));
    };
    return box;
  }

  #set(i, candidate, text) {
    this.#candidates[i] = candidate;
    this.#boxes[i].text.textContent = text;
  }

  /** Forget the candidates and the answer: they belong to a picture. */
  reset() {
    this.#boxes.forEach((_, i) => this.#set(i, null, EMPTY));
    this.#answer.textContent = "";
  }

  #take = guarded(async (i, file) => {
    if (!file) return; // no file was chosen or dropped
    const { base } = store;
    const { file: name, title } = await upload(`${base}/files`, file);
    if (base === store.base) this.#set(i, { kind: "file", file: name }, title);
  });

  ask = guarded(async () => {
    const { region } = regionPanel;
    const [a, b] = this.#candidates;
    if (!region) return say("Box a region first (in “Region”).");
    if (!a || !b) return say("Give two candidates first.");
    const { base } = store;
    const found = await run(base, "ask", { region, a, b, edits: editsOn() });
    if (base !== store.base) return undefined;
    const [winner, loser] = found.nats >= 0 ? ["A", "B"] : ["B", "A"];
    const sign = Math.sign(found.nats);
    const nats = Math.abs(found.nats);
    const parts = isJpeg() ? "by the detail alone, because the LR values of a JPEG are not exact"
      : `${(sign * found.lr_nats).toFixed(1)} by the LR values, ${(sign * found.detail_nats).toFixed(1)} by the detail`;
    this.#answer.textContent = nats < 1
      ? `Neither: the picture does not tell them apart (${nats.toFixed(2)} nats).`
      : `${winner} is supported over ${loser}, by ${nats.toFixed(1)} nats (${parts}).`;
    return found;
  });
}

export const askPanel = new AskPanel();
