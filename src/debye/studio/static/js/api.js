// What the page asks of the studio. Whoever cancels a request stops its computation.

import { h, newId } from "./dom.js";

const PATIENCE = 400; // ms until progress is shown

export class Refused extends Error {
  constructor({ what, why, fix }, status) {
    super(what);
    Object.assign(this, { what, why, fix, status });
  }
}

async function checked(response) {
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new Refused(
    told?.error ?? { what: "the studio does not answer", why: response.statusText, fix: "start it again" },
    response.status,
  );
}

export async function get(path) {
  return (await checked(await fetch(path))).json();
}

/** Ask with JSON; the answer as JSON, or as a blob where `file` is set. */
export async function post(path, body, { about = "computing", file = false, signal } = {}) {
  const job = newId();
  const stop = new AbortController();
  signal?.addEventListener("abort", () => stop.abort());
  const shown = busy(about, job, () => stop.abort());
  try {
    const response = await checked(
      await fetch(path, {
        method: "POST",
        headers: { "content-type": "application/json", "x-debye-job": job },
        body: JSON.stringify(body),
        signal: stop.signal,
      }),
    );
    return file ? await response.blob() : await response.json();
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Refused) throw error;
    throw new Refused(
      {
        what: "the studio does not answer",
        why: String(error.message),
        fix: "see whether debye studio still runs",
      },
      0,
    );
  } finally {
    shown.end();
  }
}

/** Send a file as it is, such as a stack of frames. */
export async function upload(path, file, about) {
  const stop = new AbortController();
  const shown = busy(about, null, () => stop.abort());
  try {
    const response = await checked(
      await fetch(path, {
        method: "POST",
        headers: { "content-type": "application/octet-stream" },
        body: file,
        signal: stop.signal,
      }),
    );
    return await response.json();
  } finally {
    shown.end();
  }
}

/** Show that something is being done, how far it is, and a button that ends it. */
function busy(about, job, cancel) {
  const bar = h("progress", { ariaLabel: about });
  const line = h(
    "div",
    { className: "job" },
    h("span", {}, about),
    bar,
    h("button", { type: "button", onclick: cancel }, "Cancel"),
  );
  const box = document.getElementById("busy");
  let asking = null;
  const begin = setTimeout(() => {
    box.append(line);
    box.hidden = false;
    if (job)
      asking = setInterval(async () => {
        const { done, of } = await get(`/api/progress/${job}`).catch(() => ({ of: 0 }));
        if (of > 0) Object.assign(bar, { max: of, value: done });
      }, 500);
  }, PATIENCE);
  return {
    end() {
      clearTimeout(begin);
      clearInterval(asking);
      line.remove();
      box.hidden = !box.children.length;
    },
  };
}

export const wasCancelled = (error) => error?.name === "AbortError";
