// A boxed region: its principal components as sliders in σ, and how much of the variance each explains.

import { h, guarded, section, say } from "./dom.js";
import { run } from "./api.js";
import { Blender, fetchBlend } from "./blend.js";
import { isJpeg, same, wanted } from "./layers.js";
import { store } from "./store.js";
import { boxTool, drawBox, tools } from "./tools.js";
import { currentMember, view } from "./view.js";

/* global uPlot */

const COUNT = 8;
const LARGEST = 48; // LR pixels

class RegionPanel {
  region = null; // { top, left, height, width } in LR pixels
  #blend = null;
  #base = null; // the member that is moved
  #amounts = [];
  #blender = new Blender();
  #sliders = h("div", { class: "sliders" });
  #plot = h("div", { class: "plot" });

  element() {
    this.button = h("button", { class: "tool", onclick: () => this.pick(), "aria-pressed": "false" }, "Box a region");
    const middle = h("button", { onclick: () => this.#middle() }, "Middle of the view");
    this.actions = h("p", { hidden: true },
      h("button", { onclick: () => this.#set(this.#amounts.map(() => 0)) }, "Reset"),
      h("button", { onclick: () => this.#set(this.#amounts.map(normal)) }, "Randomise"),
      h("button", { onclick: () => this.clear() }, "Done"));
    tools.marks.push((context, pane) => {
      if (!this.region) return;
      const s = store.info.scale, { top, left, height, width } = this.region;
      drawBox(context, pane, [s * left, s * top, s * width, s * height], "#fde725");
    });
    tools.onchange((tool) => this.button.setAttribute("aria-pressed", String(tool?.name === "region")));
    view.onarrival = (member) => this.#arrived(member);
    const jpeg = h("p", { class: "small" }, "Of a JPEG, the sliders blend before its intervals are applied; the exact picture keeps to them.");
    store.onchange((doc, before) => {
      jpeg.hidden = !isJpeg();
      if (this.region && !same(doc.edits, before.edits)) this.clear();
      else if (this.#blend && !same(doc.shown, before.shown) && !this.#isOurs(doc.shown)) this.clear();
      else if (this.#blend && this.#isOurs(doc.shown)) this.#adopt(doc.shown);
    });
    return section("Region", false,
      h("p", { class: "small" }, "Box a part of the picture, then move it along the directions in which it varies most."), jpeg,
      h("p", {}, this.button, middle), this.#plot, this.#sliders, this.actions);
  }

  pick() {
    const s = store.info.scale;
    tools.use(boxTool("region", "Drag a box.", s, ([left, top, width, height]) => {
      tools.use(null);
      if (Math.max(height, width) > s * LARGEST) {
        const most = s * LARGEST;
        say(`A region has at most ${most}×${most} pixels: the box was cut to its upper left part.`, "note");
      }
      this.choose({ top: top / s, left: left / s, height: Math.min(LARGEST, height / s), width: Math.min(LARGEST, width / s) });
    }));
  }

  #middle() {
    const s = store.info.scale, [x, y] = view.main.middle;
    const rows = store.info.height / s, columns = store.info.width / s;
    const size = Math.min(16, rows, columns);
    const place = (v, most) => Math.min(most - size, Math.max(0, Math.round(v / s - size / 2)));
    this.choose({ top: place(y, rows), left: place(x, columns), height: size, width: size });
  }

  choose = guarded(async (region) => {
    this.clear();
    this.region = region;
    tools.draw();
    this.#base = currentMember();
    const { edits } = wanted(this.#base);
    const base = store.base;
    const made = await run(base, "components", { member: this.#base, edits, region, count: COUNT }).catch((error) => {
      if (this.region === region) this.clear();
      throw error;
    });
    const blend = await fetchBlend(base, made);
    if (this.region !== region) return;
    this.#blend = blend;
    this.#amounts = made.stddev.map(() => 0);
    this.#blender.start(view.main, blend);
    this.#show(made);
  });

  clear() {
    this.region = null;
    this.#blend = null;
    this.#blender.stop();
    this.#sliders.replaceChildren();
    this.#plot.replaceChildren();
    this.actions.hidden = true;
    tools.draw();
  }

  #show(made) {
    const total = made.explained.reduce((a, b) => a + b, 0);
    this.#sliders.replaceChildren(
      h("p", { class: "small" }, `Together these explain ${(100 * total).toFixed(0)} % of the region's variance.`),
      ...made.explained.map((share, i) => {
        const value = h("output", {}, "0.0 σ");
        const changed = (amount) => this.#amounts.map((old, j) => (j === i ? amount : old));
        const input = h("input", {
          type: "range", min: "-4", max: "4", step: "0.05", value: "0",
          "aria-label": `Component ${i + 1}, explains ${(100 * share).toFixed(1)} %, in σ`,
          oninput: () => this.#move(changed(Number(input.value))),
          onchange: () => this.#commit(),
          ondblclick: () => this.#set(changed(0)),
        });
        return h("label", { class: "slider" }, h("span", {}, `${i + 1}`), input, value);
      }));
    this.actions.hidden = false;
    plotShares(this.#plot, made.explained);
  }

  #move(amounts) {
    this.#amounts = amounts;
    this.#sliders.querySelectorAll("label").forEach((label, i) => {
      label.querySelector("input").value = String(amounts[i]);
      label.querySelector("output").textContent = `${amounts[i].toFixed(1)} σ`;
    });
    this.#blender.draw(amounts, view.main);
  }

  #set(amounts) {
    this.#move(amounts);
    this.#commit();
  }

  /** What the sliders show, as a member: the server then makes the exact picture of it. */
  #member() {
    if (this.#amounts.every((a) => a === 0)) return this.#base;
    return { kind: "moved", base: this.#base, region: this.region, amounts: this.#amounts };
  }

  #isOurs(member) {
    const own = member.kind === "moved" && same(member.base, this.#base) && same(member.region, this.region);
    return own || same(member, this.#base);
  }

  /** Undo and redo move the sliders back. */
  #adopt(member) {
    const amounts = member.kind === "moved" && !same(member, this.#base) ? member.amounts : this.#amounts.map(() => 0);
    if (!same(amounts, this.#amounts)) this.#move(amounts);
  }

  #commit() {
    const member = this.#member();
    if (same(member, store.doc.shown)) return;
    if (depth(member) > 8) say("A region was moved eight times in a row: choose another sample to go on.");
    else store.commit({ shown: member });
  }

  /** The exact picture has arrived: the blend above it is no longer needed. */
  #arrived(member) {
    if (this.#blend && same(member, this.#member())) this.#blender.hide();
  }
}

const depth = (member) => 1 + Math.max(0, ...[member.a, member.b, member.base].filter(Boolean).map(depth));

/** A normal number, by Box and Muller. */
const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

function plotShares(element, shares) {
  element.replaceChildren();
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim() || "#888";
  let sum = 0;
  const data = [shares.map((_, i) => i + 1), shares.map((v) => 100 * v), shares.map((v) => 100 * (sum += v))];
  const axis = { stroke: colour, grid: { show: false }, ticks: { show: false }, size: 34 };
  new uPlot({
    width: Math.max(200, element.clientWidth || 280), height: 120, legend: { show: false }, cursor: { show: false },
    scales: { x: { time: false, range: [0.4, shares.length + 0.6] }, y: { range: [0, Math.max(...data[2]) * 1.05] } },
    axes: [{ ...axis, size: 24, incrs: [1], space: 20 }, { ...axis, values: (_, all) => all.map((v) => `${v} %`) }],
    series: [{}, { fill: "#2c728e", stroke: "#2c728e", paths: uPlot.paths.bars({ size: [0.6, 40] }), points: { show: false } },
      { stroke: "#d89000", width: 2, points: { show: true, size: 5 } }],
  }, data, element);
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", `Explained variance: ${shares.map((v) => `${(100 * v).toFixed(1)} %`).join(", ")}`);
}

export const regionPanel = new RegionPanel();
