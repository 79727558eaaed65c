// What the server does now: rates of the last seconds, from the metrics that Prometheus reads.

import { metrics } from "/ui/api.js";
import { el, field, notice, number, select, svg } from "/ui/dom.js";

const EVERY_MS = 1000;
const KEPT = 61;
// Requests of the console itself and of probes say nothing about the load.
const NOT_COUNTED = /^\/(metrics|health|ready|repository_models|operations)/;

export async function trafficView(view, signal) {
  const span = select([["1", "1 second"], ["10", "10 seconds"], ["60", "60 seconds"]], { value: "10" });
  span.value = "10";
  const tiles = el("div", { class: "tiles" });
  const models = el("tbody");
  const line = svg("polyline");
  const chart = svg("svg", { class: "line", preserveAspectRatio: "none", role: "img", "aria-label": "Requests a second, last minute" }, line);
  const heads = ["Model", "Items/s", "Mean batch", "Padding", "Waiting tokens", "From the cache"];
  view.append(
    el("section", { class: "card" }, el("div", { class: "row" }, el("h2", {}, "Traffic"), field("Over the last", span)), tiles, chart),
    el("section", { class: "card" }, el("h2", {}, "Models"), el("div", { class: "scroll", role: "region", "aria-label": "Traffic of each model", tabIndex: 0 }, el("table", {}, el("thead", {}, el("tr", {}, heads.map((head, place) => el("th", { scope: "col", class: place ? "number" : "" }, head)))), models))),
  );
  const samples = [];
  while (!signal.aborted) {
    if (!document.hidden) {
      try {
        samples.push({ at: performance.now() / 1000, series: parse(await metrics()) });
        notice("");
      } catch (error) {
        if (!signal.aborted) notice(error.message);
      }
      while (samples.length > KEPT) samples.shift();
      if (samples.length > 1 && !signal.aborted) draw(samples, Number(span.value), tiles, models, chart, line);
    }
    await new Promise((wake) => setTimeout(wake, EVERY_MS));
  }
}

// Returns [name, labels, value] of each line of the exposition format.
function parse(text) {
  const found = [];
  for (const row of text.split("\n")) {
    const parts = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(row);
    if (!parts) continue;
    const labels = Object.fromEntries([...(parts[2] || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((one) => [one[1], one[2]]));
    found.push([parts[1], labels, Number(parts[3])]);
  }
  return found;
}

const counts = (labels) => !NOT_COUNTED.test(labels.route || "");

function sum(series, name, wanted = () => true) {
  return series.reduce((total, [one, labels, value]) => (one === name && wanted(labels) ? total + value : total), 0);
}

function draw(samples, seconds, tiles, rows, chart, line) {
  const last = samples.at(-1);
  const first = samples.find((one) => one.at >= last.at - seconds - 0.5) || samples[0];
  const elapsed = last.at - first.at || 1;
  const rate = (name, wanted) => (sum(last.series, name, wanted) - sum(first.series, name, wanted)) / elapsed;
  const requests = rate("ingrain_requests_total", counts);
  const failed = rate("ingrain_requests_total", (labels) => counts(labels) && Number(labels.status) >= 400);
  const values = [
    ["requests/s", number(requests, 1)],
    ["errors/s", number(failed, 1)],
    ["p50", quantile(first, last, 0.5)],
    ["p99", quantile(first, last, 0.99)],
    ["in progress", number(sum(last.series, "ingrain_requests_in_progress"))],
    ["waiting tokens", number(sum(last.series, "ingrain_queue_tokens"))],
  ];
  tiles.replaceChildren(...values.map(([label, value]) => el("div", { class: "tile" }, el("b", {}, value), el("span", { class: "faint" }, label))));
  const names = [...new Set(last.series.filter(([name]) => name === "ingrain_batches_total").map(([, labels]) => labels.model))];
  rows.replaceChildren(...names.map((model) => {
    const of = (labels) => labels.model === model;
    const batches = rate("ingrain_batches_total", of), items = rate("ingrain_batch_items_total", of);
    const tokens = rate("ingrain_batch_tokens_total", of), padded = rate("ingrain_batch_padded_tokens_total", of);
    const looked = rate("ingrain_cache_items_total", of);
    const hits = rate("ingrain_cache_items_total", (labels) => of(labels) && labels.result !== "miss");
    const cells = [
      number(items + hits, 1),
      batches ? number(items / batches, 1) : "–",
      padded ? `${number(100 * (1 - tokens / padded))} %` : "–",
      number(sum(last.series, "ingrain_queue_tokens", of)),
      looked ? `${number((100 * hits) / looked)} %` : "–",
    ];
    return el("tr", {}, el("td", {}, model), cells.map((cell) => el("td", { class: "number" }, cell)));
  }));
  const rates = samples.slice(1).map((one, place) => {
    const before = samples[place];
    return (sum(one.series, "ingrain_requests_total", counts) - sum(before.series, "ingrain_requests_total", counts)) / (one.at - before.at);
  });
  const most = Math.max(...rates, 1);
  chart.setAttribute("viewBox", `0 0 ${KEPT - 2} 100`);
  line.setAttribute("points", rates.map((value, place) => `${KEPT - 1 - rates.length + place},${100 - (98 * value) / most}`).join(" "));
}

// The quantile of request times between two samples, linear within a bucket, as Prometheus computes it.
function quantile(first, last, share) {
  const buckets = new Map();
  for (const [sample, sign] of [[last, 1], [first, -1]]) {
    for (const [name, labels, value] of sample.series) {
      if (name === "ingrain_request_seconds_bucket" && counts(labels)) buckets.set(labels.le, (buckets.get(labels.le) || 0) + sign * value);
    }
  }
  const sorted = [...buckets].map(([bound, count]) => [bound === "+Inf" ? Infinity : Number(bound), count]).sort((one, other) => one[0] - other[0]);
  const total = sorted.at(-1)?.[1] || 0;
  if (!total) return "–";
  let lower = 0, below = 0;
  for (const [bound, count] of sorted) {
    if (count >= share * total) {
      if (bound === Infinity) return `> ${number(1000 * lower)} ms`;
      return `${number(1000 * (lower + ((bound - lower) * (share * total - below)) / (count - below || 1)), 1)} ms`;
    }
    lower = bound;
    below = count;
  }
  return "–";
}
