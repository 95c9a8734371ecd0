// Requests to the server. Work that takes a while is a job: it is shown with its progress and can be cancelled.

import { $, h } from "./dom.js";

export class Cancelled extends Error {
  name = "Cancelled";
}

/** The job itself failed, not the way to the server. */
export class Failed extends Error {}

/** Bases of pictures that were closed: nothing is asked of them any more but to go. */
export const closed = new Set();

const waiting = new Map(); // promises of answers → paths

/** When everything that was asked of a picture is answered. */
export const answered = (base) =>
  Promise.allSettled([...waiting].filter(([, path]) => path.startsWith(base)).map(([answer]) => answer));

/** Answer of the server as JSON, or a Blob if ``raw``. An Error with the server's own words if it refuses. */
export async function request(method, path, body, { headers = {}, raw = false, signal } = {}) {
  if ([...closed].some((base) => path.startsWith(`${base}/`))) throw new Cancelled("closed");
  const json = body !== undefined && !(body instanceof Blob);
  const options = { method, headers: { ...headers }, signal };
  if (json) options.headers["content-type"] = "application/json";
  if (body !== undefined) options.body = json ? JSON.stringify(body) : body;
  const answer = fetch(path, options);
  waiting.set(answer, path);
  let response;
  try {
    response = await answer;
  } catch {
    if (signal?.aborted) throw new Cancelled("cancelled");
    throw new Error("The server does not answer. Is `vspsr explore` still running?");
  } finally {
    waiting.delete(answer);
  }
  if (!response.ok) {
    const said = await response.json().catch(() => ({}));
    throw Object.assign(new Error(said.error || `The server answered ${response.status}.`), { status: response.status });
  }
  if (raw) return response.blob();
  return response.status === 204 ? null : response.json();
}

/** Result of a job that a request starts. */
export async function run(base, path, body, background = false, signal = null) {
  return follow(base, await request("POST", `${base}/${path}`, body), background, signal);
}

/** Result of a job, once it is done. An AbortSignal cancels it. */
export async function follow(base, report, background = false, signal = null) {
  if (report.state === "done") return report.result;
  const cancel = () => request("DELETE", `${base}/jobs/${report.job}`).catch(() => {});
  if (signal?.aborted) cancel();
  signal?.addEventListener("abort", cancel);
  const row = new JobRow(report.what, cancel, background);
  try {
    // Browsers open six connections to a server: no request may be left waiting.
    for (let pause = 30; !["done", "failed", "cancelled"].includes(report.state); pause = Math.min(400, 1.4 * pause)) {
      await new Promise((wake) => setTimeout(wake, pause));
      report = await request("GET", `${base}/jobs/${report.job}`);
      row.update(report);
    }
  } finally {
    row.remove();
    signal?.removeEventListener("abort", cancel);
  }
  if (report.state === "failed") throw new Failed(report.error);
  if (report.state === "cancelled") throw new Cancelled("cancelled");
  return report.result;
}

/** A line that appears once a job takes longer than half a second; for one in the background where it covers nothing. */
class JobRow {
  constructor(what, cancel, background) {
    this.bar = h("progress", { "aria-label": what });
    this.seconds = h("span", { class: "seconds" });
    this.row = h("div", { class: "job" }, h("span", {}, what), this.bar, this.seconds,
      h("button", { onclick: cancel, "aria-label": `Cancel: ${what}` }, "Cancel"));
    const began = performance.now();
    this.timer = setTimeout(() => {
      $(background ? "#background-jobs" : "#jobs")?.append(this.row);
      this.clock = setInterval(() => {
        this.seconds.textContent = `${Math.round((performance.now() - began) / 1000)} s`;
      }, 500);
    }, 500);
  }

  update(report) {
    if (report.total > 1) Object.assign(this.bar, { max: report.total, value: report.done });
  }

  remove() {
    clearTimeout(this.timer);
    clearInterval(this.clock);
    this.row.remove();
  }
}

/** Send a file, which the server reads. */
export async function upload(path, file) {
  const controller = new AbortController(), { signal } = controller, name = file.name || "picture";
  const row = new JobRow(`reading ${name}`, () => controller.abort());
  try {
    return await request("POST", path, file, { headers: { "x-name": encodeURIComponent(name) }, signal });
  } finally {
    row.remove();
  }
}

/** Save something the server made as a file of the user's. */
export async function download(base, made) {
  const blob = await request("GET", `${base}/blobs/${made.blob}`, undefined, { raw: true });
  const link = h("a", { href: URL.createObjectURL(blob), download: made.name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
