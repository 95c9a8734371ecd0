// What the user has made: a document with all its earlier states, kept on the server so that a reload loses nothing.

import { debounce } from "./dom.js";
import { request } from "./api.js";

const EMPTY = { shown: { kind: "mean" }, edits: [], pins: [], seeds: [1, 2, 3, 4], likes: [], files: [] };

class Store {
  info = null; // what the server says about the session
  #states = [EMPTY];
  #at = 0;
  #listeners = [];

  get base() {
    return `/api/sessions/${this.info.session}`;
  }

  get doc() {
    return this.#states[this.#at];
  }

  get canUndo() {
    return this.#at > 0;
  }

  get canRedo() {
    return this.#at < this.#states.length - 1;
  }

  /** ``listener(doc, before)`` is called after every change. */
  onchange(listener) {
    this.#listeners.push(listener);
  }

  open(info) {
    this.info = info;
    this.#states = [EMPTY];
    this.#at = 0;
    if (info.document) [this.#states, this.#at] = unpack(info.document);
    this.#changed(EMPTY);
  }

  /** A new state: the present one with changes. */
  commit(changes) {
    const before = this.doc;
    this.#states = [...this.#states.slice(0, this.#at + 1), { ...before, ...changes }];
    this.#at += 1;
    this.#changed(before);
    this.#save();
  }

  /** Change the present state itself, for what is not worth an undo of its own. */
  amend(changes) {
    const before = this.doc;
    this.#states[this.#at] = { ...before, ...changes };
    this.#changed(before);
    this.#save();
  }

  undo() {
    this.#move(-1);
  }

  redo() {
    this.#move(1);
  }

  #move(step) {
    const next = this.#at + step;
    if (next < 0 || next >= this.#states.length) return;
    const before = this.doc;
    this.#at = next;
    this.#changed(before);
    this.#save();
  }

  #changed(before) {
    for (const listener of this.#listeners) listener(this.doc, before);
  }

  /** The document as it is saved, at once. */
  async flush() {
    await request("PUT", `${this.base}/document`, pack(this.#states, this.#at));
  }

  #save = debounce(() => this.flush().catch(() => {}), 250);
}

/** States share most of their edits: each edit is written once. */
function pack(states, at) {
  const numbers = new Map();
  for (const state of states) for (const edit of state.edits) if (!numbers.has(edit)) numbers.set(edit, numbers.size);
  const packed = states.map((state) => ({ ...state, edits: state.edits.map((edit) => numbers.get(edit)) }));
  return { version: 1, at, edits: [...numbers.keys()], states: packed };
}

function unpack(document) {
  try {
    const states = document.states.map((state) => ({
      ...EMPTY, ...state, edits: state.edits.map((i) => document.edits[i]),
    }));
    if (document.version !== 1 || !states[document.at]) throw new Error("version");
    return [states, document.at];
  } catch {
    return [[EMPTY], 0];
  }
}

export const store = new Store();

let counter = 0;
export const newId = () => `${Date.now().toString(36)}-${(counter += 1)}`;
