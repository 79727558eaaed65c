// The models of the repository, and loads in progress.

import { follow, get, named, post, remove, tasksOf } from "/ui/api.js";
import { busy, bytes, el, field, notice, number, select } from "/ui/dom.js";

const EVERY_MS = 2000;
const PHASES = {
  queued: "waits for other conversions",
  download: "downloads",
  read: "reads the model",
  export: "converts",
  verify: "proves the numbers",
  load: "loads into the engine",
  tune: "measures",
};

export async function modelsView(view, signal) {
  const rows = el("tbody");
  const operations = el("div", { "aria-live": "polite" });
  const followed = new Set();

  const refresh = async () => {
    const { models } = await get("/repository_models");
    if (signal.aborted) return;
    const focused = document.activeElement?.dataset?.key;
    rows.replaceChildren(...models.map((model) => row(model, refresh, begin)));
    if (focused) rows.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    if (!models.length) rows.append(el("tr", {}, el("td", { colSpan: 6, class: "faint" }, "No models yet: load one below.")));
  };
  const watch = (operation) => {
    if (followed.has(operation.id)) return;
    followed.add(operation.id);
    showOperation(operations, operation, signal, refresh);
  };
  const begin = async (body) => watch(await post("/load_model", { ...body, wait: false }));

  view.append(
    el("section", { class: "card" }, el("h2", {}, "Models"), operations, table(rows)),
    el("section", { class: "card" }, el("h2", {}, "Load a model"), loadForm(begin)),
  );
  await refresh();
  const listed = await get("/operations");
  listed.operations.filter((one) => one.state === "running").forEach(watch);
  while (!signal.aborted) {
    await new Promise((wake) => setTimeout(wake, EVERY_MS));
    if (!signal.aborted && !document.hidden) await refresh().catch((error) => notice(error.message));
  }
}

function table(rows) {
  const heads = ["Name", "State", "Task", "Precision", "Memory", "Actions"];
  return el(
    "div",
    { class: "scroll", role: "region", "aria-label": "Models", tabIndex: 0 },
    el("table", { class: "stack" }, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))), rows),
  );
}

function row(model, refresh, begin) {
  const name = model.pretrained ? `${model.name} (${model.pretrained})` : model.name;
  const cell = (label, ...content) => el("td", { "data-label": label }, el("div", {}, ...content));
  const action = (label, work) => {
    const button = el("button", { class: "quiet", "aria-label": `${label} ${name}`, "data-key": `${label} ${name}` }, label);
    button.addEventListener("click", busy(button, async () => { await work(); await refresh(); }));
    return button;
  };
  const isLoaded = model.state === "READY";
  const actions = model.library
    ? [
        isLoaded && action("Unload", () => post("/unload_model", named(model))),
        isLoaded && action("Tune", () => post("/tune_model", named(model))),
        model.state === "UNAVAILABLE" && action("Load", () => begin(named(model))),
        action("Delete", async () => {
          if (confirm(`Delete ${name} from the repository? It must be converted again to come back.`)) await remove("/delete_model", named(model));
        }),
      ]
    : [];
  return el(
    "tr",
    {},
    cell("Name", name, el("div", { class: "faint" }, model.library || "")),
    cell("State", el("span", { class: `state ${model.state}` }, model.state.toLowerCase()), model.reason && el("div", { class: "faint" }, model.reason)),
    cell("Task", tasksOf(model).join(", ")),
    cell("Precision", model.precision || "fp32"),
    cell("Memory", model.memoryBytes ? bytes(model.memoryBytes) : "–"),
    cell("Actions", el("div", { class: "actions" }, actions)),
  );
}

function loadForm(begin) {
  const name = el("input", { required: true, placeholder: "intfloat/e5-small-v2", autocomplete: "off" });
  const library = select([["sentence_transformers", "sentence-transformers"], ["open_clip", "OpenCLIP"], ["timm", "timm"]]);
  const pretrained = el("input", { placeholder: "OpenCLIP only", autocomplete: "off" });
  const precision = select([["", "as stored, else fp32"], "fp32", "fp16", "int8", "int8-safe"]);
  const button = el("button", {}, "Load");
  const form = el(
    "form",
    { class: "row" },
    field("Name", name),
    field("Library", library),
    field("Weight tag", pretrained),
    field("Precision", precision),
    button,
  );
  form.addEventListener("submit", busy(button, async () => {
    const body = { name: name.value.trim(), library: library.value };
    if (pretrained.value.trim()) body.pretrained = pretrained.value.trim();
    if (precision.value) body.precision = precision.value;
    await begin(body);
  }));
  return form;
}

function showOperation(parent, operation, signal, refresh) {
  const bar = el("progress", { "aria-label": `Progress of ${operation.name}`, max: 1 });
  const told = el("span", { class: "faint" });
  const cancel = el("button", { class: "quiet", "aria-label": `Stop loading ${operation.name}` }, "Stop");
  cancel.addEventListener("click", busy(cancel, () => post(`/operations/${operation.id}/cancel`)));
  const box = el("div", { class: "operation" }, el("div", { class: "row" }, el("strong", {}, operation.name), told, cancel), bar);
  parent.append(box);

  const tell = (kind, now) => {
    if (kind === "end" && now.state !== "running") {
      cancel.remove();
      bar.remove();
      told.className = now.state === "succeeded" ? "good" : "bad";
      told.textContent = now.state === "failed" ? now.lastError : now.state === "succeeded" ? "is ready" : "was stopped";
      refresh();
      if (now.state !== "failed") setTimeout(() => box.remove(), 8000);
      return;
    }
    const of = (value) => (now.unit === "bytes" ? bytes(value) : number(value));
    const amount = now.total ? ` ${of(now.done)} of ${of(now.total)}${now.unit === "bytes" ? "" : ` ${now.unit}`}` : "";
    const place = now.queuePosition ? `: ${now.queuePosition} before it` : "";
    const again = now.attempt > 1 ? ` (attempt ${now.attempt})` : "";
    told.textContent = `${PHASES[now.phase]}${place}${amount}${again}`;
    if (now.total) bar.value = now.done / now.total;
    else bar.removeAttribute("value");
  };
  tell("progress", operation);
  follow(`/operations/${operation.id}/events`, (kind, now) => !signal.aborted && tell(kind, now)).catch((error) => {
    if (!signal.aborted) notice(error.message);
  });
}
