// The page: its views, the unit and the theme, which are the same everywhere.

import { get } from "./api.js";
import { h, tell } from "./dom.js";
import { packed, unpacked } from "./link.js";
import { Store } from "./store.js";
import { UNITS } from "./units.js";

const VIEWS = {
  crystals: ["Crystals", () => import("./crystals.js")],
  speckle: ["Speckle", () => import("./speckle.js")],
  fitted: ["Fitted", () => import("./fitted.js"), (about) => about.fitted.length > 0],
  screening: ["Screening", () => import("./screening.js"), (about) => about.screenings.length > 0],
};

async function start() {
  const about = await get("/api/about");
  const state = await unpacked(location.hash).catch((error) => tell(error));
  const theme =
    localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const store = new Store({ about, unit: state?.unit in UNITS ? state.unit : "cm-1", theme: null, restoring: state ?? null });
  const unit = document.getElementById("unit");
  unit.append(...Object.entries(UNITS).map(([value, { label }]) => h("option", { value }, label)));
  unit.addEventListener("change", () => store.set({ unit: unit.value }));
  store.on(["unit"], (now) => (unit.value = now.unit));
  const switcher = document.getElementById("theme");
  switcher.addEventListener("click", () =>
    store.set({ theme: store.get("theme") === "dark" ? "light" : "dark" }),
  );
  store.on(["theme"], (now) => {
    if (!now.theme) return;
    document.documentElement.dataset.theme = now.theme;
    localStorage.setItem("theme", now.theme);
    switcher.textContent = now.theme === "dark" ? "Light" : "Dark";
  });
  store.set({ theme });
  document.getElementById("share").addEventListener("click", () => share(store));
  document.getElementById("view").store = store;
  const there = Object.keys(VIEWS).filter((name) => VIEWS[name][2]?.(about) ?? true);
  const opened = new Map();
  const tabs = there.map((name) =>
    h("button", { type: "button", onclick: () => show(store, opened, tabs, name) }, VIEWS[name][0]),
  );
  tabs.forEach((tab, i) => (tab.name = there[i]));
  if (there.length > 1) document.getElementById("tabs").append(...tabs);
  await show(
    store,
    opened,
    tabs,
    there.includes(state?.view)
      ? state.view
      : about.stacks.length && !about.files.length
        ? "speckle"
        : there[0],
  );
}

/** Show a view; it is made once, and kept. */
async function show(store, opened, tabs, name) {
  for (const tab of tabs) {
    if (tab.name === name) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  store.set({ view: name });
  document.getElementById("unit").parentElement.hidden = !["crystals", "screening"].includes(name);
  if (!opened.has(name)) opened.set(name, await (await VIEWS[name][1]()).view(store));
  document.getElementById("view").replaceChildren(opened.get(name));
}

async function share(store) {
  const link = `${location.origin}${location.pathname}#s=${await packed(store)}`;
  history.replaceState(null, "", link);
  try {
    await navigator.clipboard.writeText(link);
    tell(
      "The link is copied; it holds the structures themselves, and opens in any studio of the same version.",
    );
  } catch {
    tell("The link stands in the address bar; it holds the structures themselves.");
  }
}

start().catch(tell);
