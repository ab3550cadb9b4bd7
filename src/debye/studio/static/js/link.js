// A link that restores the view: what is open and how it is looked at, packed behind the #.

const KEPT = ["unit", "partial", "T", "cells", "view", "spectrum", "speckle", "fitted", "screening"];
const MOST = 4_000_000; // characters of what a link unpacks to

/** The view as a short text. */
export async function packed(store) {
  const now = store.values;
  const items = now.items ?? [];
  const state = {
    v: 1,
    items: items.map(({ spec }) => spec),
    current: items.findIndex(({ record }) => record === now.current),
    overlay: (now.overlay ?? []).map((record) => items.findIndex((entry) => entry.record === record)),
    hidden: [...(now.hidden ?? [])],
    mode: now.mode ?? null,
  };
  for (const name of KEPT) if (now[name] != null) state[name] = now[name];
  const viewer = document.querySelector("canvas.cell")?.viewer;
  if (viewer)
    state.camera = {
      turn: viewer.turn.map((row) => row.map((x) => Number(x.toFixed(4)))),
      zoom: viewer.zoom,
      options: viewer.options,
    };
  const stream = new Blob([JSON.stringify(state)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** What a link holds; null where there is none. */
export async function unpacked(hash) {
  const text = hash.match(/[#&]s=([\w-]+)/)?.[1];
  if (!text) return null;
  const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const decoder = new TextDecoder();
  let json = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    json += decoder.decode(value, { stream: true });
    if (json.length > MOST)
      throw {
        what: "the link holds too much",
        why: `it unpacks to more than ${MOST / 1e6} MB`,
        fix: "open the files themselves",
      };
  }
  const state = JSON.parse(json);
  if (state?.v !== 1 || !Array.isArray(state.items))
    throw {
      what: "the link cannot be used",
      why: "it is of another version of the studio",
      fix: "open the files themselves",
    };
  return state;
}
