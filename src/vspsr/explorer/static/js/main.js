// The page: opens a picture or takes up the session in the address, and puts the parts together.

import { $, guarded, say } from "./dom.js";
import { Cancelled, Failed, answered, closed, follow, request, upload } from "./api.js";
import { askPanel } from "./ask.js";
import { editsPanel } from "./edits.js";
import { gallery } from "./gallery.js";
import { keepPanel } from "./keep.js";
import { layerOf, same } from "./layers.js";
import { look } from "./look.js";
import { regionPanel } from "./region.js";
import { store } from "./store.js";
import { tools } from "./tools.js";
import { values } from "./values.js";
import { view } from "./view.js";

const STDDEV_AT_ONCE = 256 * 256; // LR pixels; σ of more takes minutes, and is computed when it is asked for
const OF_A_PICTURE = ["#stage", "#panel", "#close"];
const limits = {};

async function start() {
  const about = await request("GET", "/api/about");
  Object.assign(limits, about);
  $("#model").textContent = about.experimental ? `${about.model} (experimental)` : about.model;
  $("#model").hidden = false;
  $("#toolbar").append(...look.toolbar());
  $("#panel").append(look.element(), gallery.element(), regionPanel.element(), editsPanel.element(), askPanel.element(), keepPanel.element());
  store.onchange(changed);
  tools.start();
  listen();
  const name = location.hash.slice(1);
  const known = name && await request("GET", `/api/sessions/${encodeURIComponent(name)}`).catch(() => null);
  if (known) await open(async () => known);
  else if (about.photo) await open(() => request("POST", "/api/sessions/photo"));
  else welcome();
}

function welcome() {
  $("#welcome").hidden = false;
  for (const id of OF_A_PICTURE) $(id).hidden = true;
  for (const id of ["#title", "#badge", "#note"]) $(id).textContent = "";
  $("#file").focus();
}

const open = guarded(async (send) => {
  $("#welcome").hidden = true;
  const info = await send().catch((error) => {
    welcome();
    throw error;
  });
  await enter(info);
});

/** Show a session. Until its picture is open, the LR picture stands in. */
async function enter(info) {
  history.replaceState(null, "", `#${info.session}`);
  const base = `/api/sessions/${info.session}`;
  $("#title").textContent = info.name;
  $("#note").textContent = info.note;
  $("#welcome").hidden = true;
  const opening = info.jobs.find((job) => job.what.startsWith("opening"));
  for (const id of OF_A_PICTURE) $(id).hidden = false;
  look.reset();
  askPanel.reset();
  store.open(info);
  view.start();
  tools.attach();
  const isOpen = () => store.base === base && !$("#stage").hidden;
  try {
    if (!info.ready && !opening) throw new Failed("The picture could not be opened: open it again.");
    if (!info.ready) await follow(base, opening);
  } catch (error) {
    if (!isOpen()) return; // it was closed meanwhile
    if (error instanceof Failed || error instanceof Cancelled) await leave();
    throw error;
  }
  if (isOpen() && !(info.width * info.height / info.scale ** 2 > STDDEV_AT_ONCE)) layerOf({ kind: "stddev" }, true, { edits: [] }).then(() => values.read(), () => {});
}

async function leave() {
  const base = store.base;
  closed.add(base);
  regionPanel.clear();
  tools.use(null);
  view.stop();
  history.replaceState(null, "", "#");
  welcome();
  await answered(base); // what is asked of a picture that is gone is an error
  await request("DELETE", base).catch(() => {});
}

function openFile(file) {
  if (file.size > limits.upload_bytes) return say(`${file.name} has more than ${limits.upload_bytes / 1e6} MB.`);
  return open(() => upload("/api/sessions", file));
}

function changed(doc, before) {
  $("#undo").disabled = !store.canUndo;
  $("#redo").disabled = !store.canRedo;
  const differs = (key) => !same(doc[key], before[key]);
  if (differs("shown")) look.single(); // what was chosen is seen
  if (view.panes.length && (differs("shown") || differs("edits"))) view.refresh();
}

function listen() {
  $("#undo").addEventListener("click", () => store.undo());
  $("#redo").addEventListener("click", () => store.redo());
  $("#close").addEventListener("click", guarded(leave));
  $("#file").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = ""; // the same file can be chosen again
    if (file) openFile(file);
  });
  $("#example").addEventListener("click", () => open(() => request("POST", "/api/sessions/example")));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    const file = event.dataTransfer.files[0];
    if (!file) return;
    if ($("#stage").hidden) openFile(file);
    else look.add(file);
  });
  addEventListener("keydown", key);
  addEventListener("pagehide", () => {
    if (store.info) store.flush().catch(() => {});
  });
}

function key(event) {
  if ($("#stage").hidden || event.target.matches("input:not([type=checkbox]), select, textarea")) return;
  if (event.ctrlKey || event.metaKey) {
    const letter = event.key.toLowerCase();
    if (letter === "z" && !event.shiftKey) store.undo();
    else if (letter === "z" || letter === "y") store.redo();
    else return;
  } else if (event.altKey) return;
  else if (/^[1-9]$/.test(event.key)) look.press(Number(event.key) - 1);
  else if (event.key === " " && event.target.matches("button, summary, input")) return;
  else if (!tools.key(event) && !view.key(event)) {
    const action = {
      c: () => look.toggle("curtain"), l: () => look.toggle("lens"), s: () => look.setMode("none"),
      v: () => look.toggleCross(), r: () => regionPanel.pick(),
    };
    const chosen = action[event.key];
    if (!chosen) return;
    chosen();
  }
  event.preventDefault();
}

guarded(start)();
