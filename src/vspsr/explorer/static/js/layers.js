// Layers: pictures that the server has made, by what they show.

import { run } from "./api.js";
import { store } from "./store.js";

const known = new Map(); // session and request → promise of the layer

const spreads = new Map(); // session and request → layer of a σ map that is there
const making = new Map(); // session and request → AbortController and promise of a layer to look at that is under way
const ending = new Map(); // session and request → promise of the end of a layer that is no longer wanted
let visible = null; // draft of the σ map that was made last
let estimate = null; // AbortController of σ with edits that is under way

const fixed = new Set(["lr", "bicubic", "file"]); // edits change nothing about them

/** The edits that are not switched off. */
export const editsOn = () => store.doc.edits.filter((edit) => edit.on);

/** What is shown of a member with the present edits. */
export const wanted = (member) => ({ member, edits: fixed.has(member.kind) ? [] : editsOn() });

const keyOf = ({ member, edits }) => store.info.session + JSON.stringify([member, edits.map(({ id, ...rest }) => rest)]);

/** The layer of a member given edits, the present ones by default. */
export function layerOf(member, background = false, { edits } = wanted(member)) {
  const request = { member, edits, background };
  const own = keyOf(request), key = background ? `background ${own}` : own;
  if (!known.has(key)) {
    const controller = new AbortController(), { base } = store;
    const made = Promise.resolve(ending.get(own)).then(() => run(base, "layers", request, background, controller.signal));
    made.catch(() => known.get(key) === made && known.delete(key));
    known.set(key, made);
    if (!background) {
      making.set(own, { controller, made });
      made.finally(() => making.get(own)?.made === made && making.delete(own)).catch(() => {});
    }
    while (known.size > 20) known.delete(known.keys().next().value);
    if (member.kind === "stddev") {
      if (request.edits.length) {
        estimate?.abort(); // σ given edits that are no more
        estimate = controller;
      }
      made.then((layer) => {
        spreads.set(own, layer);
        while (spreads.size > 8) spreads.delete(spreads.keys().next().value);
      }, () => {});
    }
  }
  return known.get(key);
}

/** Of a large picture: stop making exact pictures that are neither among these nor in the gallery for good. */
export function drop(members) {
  if (!store.info.large) return;
  const { seeds, likes, pins } = store.doc;
  const all = [...members, ...seeds.map((seed) => ({ kind: "sample", seed })), ...likes, ...pins];
  const kept = new Set(all.map((member) => keyOf(wanted(member))));
  for (const [own, { controller, made }] of making) {
    if (kept.has(own)) continue;
    controller.abort();
    making.delete(own);
    known.delete(own); // if it is wanted again, it is made anew
    const ended = made.catch(() => {}).then(() => ending.get(own) === ended && ending.delete(own));
    ending.set(own, ended);
  }
}

/** The server keeps a layer no more: it is asked for again when it is wanted. Returns whether it was known. */
export async function forget(name) {
  let found = false;
  for (const [key, made] of [...known]) {
    if ((await made.catch(() => null))?.layer === name) found = known.delete(key) || found;
  }
  return found;
}

/** A draft of the σ map: what of it is visible. */
export function keepSpread(request, made) {
  visible = { own: keyOf(request), name: made.blob, ...made };
}

/** σ at an HR pixel as { name, edited }: with the present edits, or else without edits, if it is there. */
export function spreadAt(x, y) {
  const request = wanted({ kind: "stddev" });
  const [given, plain] = [request, { ...request, edits: [] }].map((one) => {
    const own = keyOf(one), layer = spreads.get(own);
    if (layer) return { name: layer.layer, edited: layer.edited };
    const within = visible?.own === own && x >= visible.left && y >= visible.top && x < visible.left + visible.width && y < visible.top + visible.height;
    return within ? visible : null;
  });
  return given ?? plain;
}

export const thumbnail = (layer) => `${store.base}/layers/${layer.layer}/thumbnail`;

/** For OpenSeadragon: a pyramid that it asks for tile by tile. */
export function tileSource(layer) {
  const base = `${store.base}/layers/${layer.layer}/tiles`;
  return {
    width: layer.width, height: layer.height, tileSize: layer.tile, tileOverlap: 0,
    minLevel: 0, maxLevel: layer.levels - 1, layer: layer.layer,
    getTileUrl: (level, x, y) => `${base}/${level}/${x}/${y}`,
  };
}

/** A member in words. */
export function nameOf(member) {
  switch (member.kind) {
    case "lr": return "LR";
    case "bicubic": return "Bicubic";
    case "mean": return "Mean";
    case "stddev": return "Standard deviation σ";
    case "sample": return `Sample ${member.seed}`;
    case "between": {
      const like = member.t <= 0.3 && member.b.kind === "sample" && member.b.seed >= 100000;
      return like ? `Like ${nameOf(member.a)}` : `${nameOf(member.a)} → ${nameOf(member.b)}, ${Math.round(100 * member.t)} %`;
    }
    case "moved": return `${nameOf(member.base)}, region moved`;
    case "file": return store.doc.files.find((file) => file.file === member.file)?.title ?? "File";
    default: return member.kind;
  }
}

/** Whether the picture counts by the coefficients of a JPEG, not by its LR values. */
export const isJpeg = () => store.info?.unit === "coefficients";

const UNITS = { lr_values: "LR values", coefficients: "JPEG coefficients" };

/** How many values a layer or a file misses; undefined where it is not measured. */
export const missed = (made) => made[`${store.info.unit}_wrong`];

const number = (value) => value.toLocaleString("en");

/** The same in words; empty where it is not measured. */
export function verdict(made) {
  const { unit } = store.info;
  if (missed(made) === undefined) return "";
  const all = made[unit] === undefined ? "" : ` of ${number(made[unit])}`;
  return `${number(missed(made))}${all} ${UNITS[unit]} wrong`;
}

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Whether a member is one of the space: not the LR picture, a map or a file. */
export const isMember = (member) => ["mean", "sample", "between", "moved"].includes(member.kind);
