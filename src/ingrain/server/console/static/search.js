// Search over pasted lines: by vectors first, then by a reranker if one is loaded.

import { infer, named, readyModels, takesTexts, tasksOf } from "/ui/api.js";
import { busy, el, field, lines, number, select } from "/ui/dom.js";
import { scored } from "/ui/try.js";

const RERANKED = 20;
const LINES = `The river runs to the sea.
A bicycle is repaired in the yard.
Vectors of similar texts are close to each other.
The bakery opens at six in the morning.
Fresh bread is sold from dawn on.
A server answers requests over HTTP.`;

export async function searchView(view) {
  const models = await readyModels();
  const encoders = models.filter((model) => takesTexts(model) && tasksOf(model).includes("embed"));
  const rerankers = models.filter((model) => tasksOf(model).includes("rerank"));
  if (!encoders.length) return view.append(el("p", { class: "card" }, "No model that embeds texts is loaded. Load one in Models."));
  const encoder = select(encoders.map((model, place) => [place, model.name]));
  const reranker = select([["", "none"], ...rerankers.map((model, place) => [place, model.name])]);
  if (rerankers.length) reranker.value = "0";
  const query = el("input", { value: "When can I buy bread?" });
  const text = el("textarea", { value: LINES });
  const run = el("button", {}, "Search");
  const result = el("div", { "aria-live": "polite" });
  const form = el("form", {}, el("div", { class: "row" }, field("Model", encoder), field("Reranker", reranker), field("Query", query, true), field("Lines to search", text, true), run));
  form.addEventListener("submit", busy(run, async () => {
    const model = named(encoders[Number(encoder.value)]);
    const documents = lines(text.value);
    const began = performance.now();
    const [asked, stored] = await Promise.all([
      infer("embed_text", { ...model, text: query.value, inputType: "query" }).catch(() => infer("embed_text", { ...model, text: query.value })),
      infer("embed_text", { ...model, text: documents, inputType: "document" }).catch(() => infer("embed_text", { ...model, text: documents })),
    ]);
    const [wanted] = asked.embeddings;
    let found = stored.embeddings.map((vector, place) => [documents[place], vector.reduce((sum, value, at) => sum + value * wanted[at], 0)]);
    found.sort((one, other) => other[1] - one[1]);
    const parts = [el("div", {}, scored("By vectors", found))];
    if (reranker.value !== "") {
      const best = found.slice(0, RERANKED).map(([line]) => line);
      const ranked = await infer("rerank", { ...named(rerankers[Number(reranker.value)]), query: query.value, documents: best });
      parts.unshift(el("div", {}, scored("By the reranker", ranked.results.map((one) => [best[one.index], one.score]))));
    }
    result.replaceChildren(el("p", { class: "faint" }, `${number(performance.now() - began, 1)} ms`), ...parts);
  }));
  view.append(el("section", { class: "card" }, el("h2", {}, "Search over lines"), form), el("section", { class: "card" }, el("h2", {}, "Found"), result));
}
