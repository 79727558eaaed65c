// What the server does now: the rates of the last second, ten seconds and minute.

import { get } from "/ui/api.js";
import { el, field, notice, number, select, svg } from "/ui/dom.js";

const EVERY_MS = 1000;
const KEPT = 60;

export async function trafficView(view, signal) {
  const span = select([["1", "1 second"], ["10", "10 seconds"], ["60", "60 seconds"]], { value: "10" });
  span.value = "10";
  const tiles = el("div", { class: "tiles" });
  const models = el("tbody");
  const line = svg("polyline");
  const chart = svg("svg", { class: "line", preserveAspectRatio: "none", role: "img", "aria-label": "Requests a second, last minute" }, line);
  const heads = ["Model", "Requests/s", "Items/s", "p50", "p99", "Mean batch", "Padding", "Waiting tokens", "From the cache"];
  view.append(
    el("section", { class: "card" }, el("div", { class: "row" }, el("h2", {}, "Traffic"), field("Over the last", span)), tiles, chart),
    el("section", { class: "card" }, el("h2", {}, "Models"), el("div", { class: "scroll", role: "region", "aria-label": "Traffic of each model", tabIndex: 0 }, el("table", {}, el("thead", {}, el("tr", {}, heads.map((head, place) => el("th", { scope: "col", class: place ? "number" : "" }, head)))), models))),
  );
  const rates = [];
  while (!signal.aborted) {
    if (!document.hidden) {
      try {
        const stats = await get("/ui/api/stats");
        rates.push(stats.windows.find((window) => window.seconds === 1).models.reduce((total, model) => total + model.requestsPerS, 0));
        while (rates.length > KEPT) rates.shift();
        notice("");
        if (!signal.aborted) draw(stats, Number(span.value), rates, tiles, models, chart, line);
      } catch (error) {
        if (!signal.aborted) notice(error.message);
      }
    }
    await new Promise((wake) => setTimeout(wake, EVERY_MS));
  }
}

const amount = (value, unit = "", digits = 1) => (value === null ? "–" : `${number(value, digits)}${unit}`);

function draw(stats, seconds, rates, tiles, rows, chart, line) {
  const { models } = stats.windows.find((window) => window.seconds === seconds);
  const sum = (name) => models.reduce((total, model) => total + model[name], 0);
  const waiting = (matches) => stats.queues.reduce((total, queue) => (matches(queue.name) ? total + queue.waitingTokens : total), 0);
  const slowest = Math.max(...models.map((model) => model.p99Ms ?? -1));
  const values = [
    ["requests/s", number(sum("requestsPerS"), 1)],
    ["items/s", number(sum("itemsPerS"), 1)],
    ["tokens/s", number(sum("tokensPerS"))],
    ["p99 of the slowest model", amount(slowest < 0 ? null : slowest, " ms")],
    ["in progress", number(stats.inProgress)],
    ["waiting tokens", number(waiting(() => true))],
  ];
  tiles.replaceChildren(...values.map(([label, value]) => el("div", { class: "tile" }, el("b", {}, value), el("span", { class: "faint" }, label))));
  rows.replaceChildren(...models.map((model) => {
    const cells = [
      number(model.requestsPerS, 1),
      number(model.itemsPerS, 1),
      amount(model.p50Ms, " ms"),
      amount(model.p99Ms, " ms"),
      amount(model.meanBatchItems),
      amount(model.paddingShare === null ? null : 100 * model.paddingShare, " %", 0),
      number(waiting((name) => name === model.name || name.startsWith(`${model.name} `))),
      amount(model.cacheHitShare === null ? null : 100 * model.cacheHitShare, " %", 0),
    ];
    return el("tr", {}, el("td", {}, model.name), cells.map((cell) => el("td", { class: "number" }, cell)));
  }));
  const most = Math.max(...rates, 1);
  chart.setAttribute("viewBox", `0 0 ${KEPT - 1} 100`);
  line.setAttribute("points", rates.map((value, place) => `${KEPT - rates.length + place},${100 - (98 * value) / most}`).join(" "));
}
