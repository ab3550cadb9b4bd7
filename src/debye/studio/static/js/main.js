// The page: its views, the unit and the theme, which are the same everywhere.

import { get } from "./api.js";
import { h, tell } from "./dom.js";
import { Store } from "./store.js";
import { UNITS } from "./units.js";

const VIEWS = {
  crystals: ["Crystals", () => import("./crystals.js")],
};

async function start() {
  const about = await get("/api/about");
  const theme = localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const store = new Store({ about, unit: "cm-1", theme, view: "crystals" });
  const unit = document.getElementById("unit");
  unit.append(...Object.entries(UNITS).map(([value, { label }]) => h("option", { value }, label)));
  unit.addEventListener("change", () => store.set({ unit: unit.value }));
  store.on(["unit"], (now) => (unit.value = now.unit));
  const switcher = document.getElementById("theme");
  switcher.addEventListener("click", () => store.set({ theme: store.get("theme") === "dark" ? "light" : "dark" }));
  store.listeners.unshift([["theme"], (now) => {
    document.documentElement.dataset.theme = now.theme;
    localStorage.setItem("theme", now.theme);
    switcher.textContent = now.theme === "dark" ? "Light" : "Dark";
  }]);
  store.set({ theme });
  await show(store, "crystals");
}

async function show(store, name) {
  const [, load] = VIEWS[name];
  const { view } = await load();
  const place = document.getElementById("view");
  place.store = store;
  place.replaceChildren(await view(store));
}

start().catch(tell);
