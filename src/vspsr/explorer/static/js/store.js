// What the user has made: a document with all its earlier states, kept on the server so that a reload loses nothing.

import { debounce, say } from "./dom.js";
import { closed, request } from "./api.js";

const EMPTY = { shown: { kind: "mean" }, edits: [], pins: [], seeds: [1, 2, 3, 4], likes: [], files: [] };

class Store {
  info = null; // what the server says about the session
  #states = [EMPTY];
  #at = 0;
  #listeners = [];
  #unsaved = false; // saving has failed, and the user knows

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
    this.#states.splice(this.#at + 1, Infinity, { ...this.doc, ...changes });
    this.redo();
  }

  /** Change the present state itself, for what is not worth an undo of its own. */
  amend(changes) {
    const before = this.doc;
    this.#states[this.#at] = { ...before, ...changes };
    this.#changed(before);
    this.#save();
  }

  undo() {
    if (this.canUndo) this.#move(-1);
  }

  redo() {
    if (this.canRedo) this.#move(1);
  }

  #move(step) {
    const before = this.doc;
    this.#at += step;
    this.#changed(before);
    this.#save();
  }

  #changed(before) {
    for (const listener of this.#listeners) listener(this.doc, before);
  }

  /** The document as it is saved, at once. */
  async flush() {
    if (closed.has(this.base)) return;
    await request("PUT", `${this.base}/document`, pack(this.#states, this.#at));
  }

  #save = debounce(() => this.flush().then(() => { this.#unsaved = false; }, (error) => {
    if (!this.#unsaved) say(`Changes are no longer saved, a reload would lose them: ${error.message}`);
    this.#unsaved = true;
  }), 250);
}

/** Values and their numbers, in the order in which they occur first. */
function numbered(values) {
  const numbers = new Map();
  for (const value of values) if (!numbers.has(value)) numbers.set(value, numbers.size);
  return numbers;
}

/** An edit with every stroke replaced. */
const withStrokes = (edit, replaced) =>
  edit.area ? { ...edit, area: { ...edit.area, strokes: edit.area.strokes.map(replaced) } } : edit;

/** States share most of their edits, and versions of an edit most of their strokes: each is written once. */
function pack(states, at) {
  const edits = numbered(states.flatMap((state) => state.edits));
  const strokes = numbered([...edits.keys()].flatMap((edit) => edit.area?.strokes ?? []));
  return {
    version: 2, at, strokes: [...strokes.keys()],
    edits: [...edits.keys()].map((edit) => withStrokes(edit, (stroke) => strokes.get(stroke))),
    states: states.map((state) => ({ ...state, edits: state.edits.map((edit) => edits.get(edit)) })),
  };
}

function unpack(document) {
  try {
    const { version, at, strokes = [] } = document;
    // In version 1 the strokes stand in the edits themselves.
    const edits = document.edits.map((edit) => withStrokes(edit, (stroke) => strokes[stroke] ?? stroke));
    const states = document.states.map((state) => ({ ...EMPTY, ...state, edits: state.edits.map((i) => edits[i]) }));
    if (![1, 2].includes(version) || !states[at]) throw new Error("version");
    return [states, at];
  } catch {
    return [[EMPTY], 0];
  }
}

export const store = new Store();

let counter = 0;
export const newId = () => `${Date.now().toString(36)}-${(counter += 1)}`;
