// Files to take away.

import { h, guarded, say, section } from "./dom.js";
import { download, run } from "./api.js";
import { editsOn, isMember, nameOf, verdict, wanted } from "./layers.js";
import { store } from "./store.js";
import { inView } from "./view.js";

class KeepPanel {
  #format = h("select", { "aria-label": "Format" }, h("option", { value: "png" }, "PNG"), h("option", { value: "tiff" }, "TIFF"));
  #bits = h("select", { "aria-label": "Depth" }, h("option", { value: "8" }, "8 bit"), h("option", { value: "16" }, "16 bit"));

  element() {
    const button = (what, title) => h("button", { "data-what": what, onclick: () => this.keep(what) }, title);
    return section("Keep", false,
      h("p", {}, h("label", {}, "Format ", this.#format), h("label", {}, "Depth ", this.#bits)),
      h("p", { class: "column" }, button("picture", "The picture shown"), button("samples", "The pinned samples (or six)"),
        button("stddev", "The σ map"), button("comparison", "A comparison page to send"), button("session", "This session, to reopen")));
  }

  keep = guarded(async (what) => {
    const base = store.base;
    if (what === "session") await store.flush();
    const { member, edits: own } = wanted(inView());
    const edits = editsOn();
    const others = store.doc.pins.filter(isMember);
    const names = [`${nameOf(member)} (shown${own.length ? ", edited" : ""})`, ...others.map(nameOf)].map((name) => name.slice(0, 200));
    const made = await run(base, "exports", { what, member, others, names, edits, format: this.#format.value, bits: Number(this.#bits.value) });
    await download(base, made);
    const size = `${made.name}: ${(made.bytes / 1e6).toFixed(2)} MB`;
    if (base === store.base) say([size, verdict(made)].filter(Boolean).join("; "), "note");
  });
}

export const keepPanel = new KeepPanel();
