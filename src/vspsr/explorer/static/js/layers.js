// Layers: pictures that the server has made, by what they show.

import { run } from "./api.js";
import { store } from "./store.js";

const known = new Map(); // session and request → promise of the layer

const fixed = new Set(["lr", "bicubic", "file", "stddev"]); // edits change nothing about them

/** What is shown of a member with the present edits. */
export function wanted(member) {
  const edits = fixed.has(member.kind) ? [] : store.doc.edits.filter((edit) => edit.on);
  return { member, edits };
}

/** The layer of a member given the present edits. */
export function layerOf(member, background = false) {
  const request = { ...wanted(member), background };
  const key = store.info.session + background + JSON.stringify([request.member, request.edits.map(({ id, ...rest }) => rest)]);
  if (!known.has(key)) {
    const made = run(store.base, "layers", request, background);
    made.catch(() => known.delete(key));
    known.set(key, made);
    while (known.size > 20) known.delete(known.keys().next().value);
  }
  return known.get(key);
}

export const thumbnail = (layer) => `${store.base}/layers/${layer.layer}/thumbnail`;

/** For OpenSeadragon: a pyramid that it asks for tile by tile. */
export function tileSource(layer) {
  const base = `${store.base}/layers/${layer.layer}/tiles`;
  return {
    width: layer.width, height: layer.height, tileSize: layer.tile, tileOverlap: 0,
    minLevel: 0, maxLevel: layer.levels - 1,
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

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Whether a member is one of the space: not the LR picture, a map or a file. */
export const isMember = (member) => ["mean", "sample", "between", "moved"].includes(member.kind);
