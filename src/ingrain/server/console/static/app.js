// Shows the view that the address names, and keeps the API key and the theme.

import { get, key, useKey } from "/ui/api.js";
import { notice } from "/ui/dom.js";
import { labelsView } from "/ui/labels.js";
import { matrixView } from "/ui/matrix.js";
import { modelsView } from "/ui/models.js";
import { searchView } from "/ui/search.js";
import { trafficView } from "/ui/traffic.js";
import { tryView } from "/ui/try.js";

const VIEWS = { models: modelsView, try: tryView, matrix: matrixView, search: searchView, labels: labelsView, traffic: trafficView };
const THEME = "ingrain-theme";
let leave = null;

async function show() {
  const name = Object.hasOwn(VIEWS, location.hash.slice(1)) ? location.hash.slice(1) : "models";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  leave?.abort();
  leave = new AbortController();
  const { signal } = leave;
  notice("");
  const main = document.getElementById("main");
  const view = document.createElement("div");
  main.replaceChildren(view);
  try {
    // A view stops what it repeats when the signal says that another one is shown.
    await VIEWS[name](view, signal);
  } catch (error) {
    if (!signal.aborted) notice(error.message);
  }
}

function theme(value) {
  document.documentElement.dataset.theme = value;
  const button = document.getElementById("theme");
  button.textContent = value === "dark" ? "Light" : "Dark";
  button.setAttribute("aria-label", `Use ${value === "dark" ? "light" : "dark"} colours`);
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
theme(localStorage.getItem(THEME) || (prefersDark.matches ? "dark" : "light"));
document.getElementById("theme").addEventListener("click", () => {
  const value = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem(THEME, value);
  theme(value);
});

const keyInput = document.getElementById("key");
keyInput.value = key();
document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(keyInput.value.trim());
  show();
});

addEventListener("hashchange", show);
get("/ui/about.json").then((about) => {
  document.getElementById("version").textContent = about.version;
});
show();
