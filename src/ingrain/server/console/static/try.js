// One text or some pictures through any loaded model, with the request as code.

import { get, infer, named, readyModels, takesImages, takesTexts, tasksOf } from "/ui/api.js";
import { busy, el, field, lines, number, select, svg } from "/ui/dom.js";
import { pictureInput } from "/ui/pictures.js";

const SHOWN_VALUES = 8;
const SHOWN_BARS = 256;

// What can be tried: the route, what it needs, and how its answer is shown.
const TRIALS = {
  embed_text: { label: "Embed texts", needs: ["text"], body: (given) => ({ text: given.texts, tokenCounts: true }), show: showVectors },
  embed_image: { label: "Embed pictures", needs: ["pictures"], body: (given) => ({ image: given.pictures }), show: showVectors },
  embed_sparse: { label: "Sparse vectors", needs: ["text"], body: (given) => ({ text: given.texts, topK: 20, tokens: true }), show: showSparse },
  embed_multi_vector: { label: "A vector for each token", needs: ["text"], body: (given) => ({ text: given.texts }), show: showTokens },
  rerank: { label: "Rank lines by a query", needs: ["query", "text"], body: (given) => ({ query: given.query, documents: given.texts }), show: showRanking },
  classify_text: { label: "Classify texts", needs: ["text"], body: (given) => ({ text: given.texts, topK: 5 }), show: showLabels },
  classify_image: { label: "Classify pictures", needs: ["pictures"], body: (given) => ({ image: given.pictures }), show: showClasses },
};

function trialsOf(model) {
  const found = [];
  for (const task of tasksOf(model)) {
    if (task === "embed" && takesTexts(model)) found.push("embed_text");
    if (task === "embed" && takesImages(model)) found.push("embed_image");
    if (task === "classify") found.push(model.library === "timm" ? "classify_image" : "classify_text");
    if (["embed_sparse", "embed_multi_vector", "rerank"].includes(task)) found.push(task);
  }
  return found;
}

export async function tryView(view) {
  const models = (await readyModels()).filter((model) => trialsOf(model).length);
  if (!models.length) return view.append(el("p", { class: "card" }, "No model is loaded. Load one in Models."));
  const about = await get("/ui/about.json");
  const choices = models.flatMap((model) => trialsOf(model).map((trial) => ({ model, trial })));
  const choice = select(choices.map(({ model, trial }, place) => [place, `${model.name}: ${TRIALS[trial].label}`]));
  const text = el("textarea", { value: "The river runs to the sea.\nA quiet stone." });
  const query = el("input", { value: "Where does the river run?" });
  const pictures = pictureInput();
  const run = el("button", {}, "Run");
  const result = el("div", { "aria-live": "polite" });
  const textField = field("Texts, one a line", text, true);
  const queryField = field("Query", query, true);
  const form = el("form", {}, el("div", { class: "row" }, field("Model and task", choice), queryField, textField, pictures.node, run));

  const shown = () => choices[Number(choice.value)];
  const arrange = () => {
    const { needs } = TRIALS[shown().trial];
    textField.hidden = !needs.includes("text");
    queryField.hidden = !needs.includes("query");
    pictures.node.hidden = !needs.includes("pictures");
    result.replaceChildren();
  };
  choice.addEventListener("change", arrange);
  form.addEventListener("submit", busy(run, async () => {
    const { model, trial } = shown();
    const given = { texts: lines(text.value), query: query.value, pictures: pictures.urls() };
    const body = { ...named(model), ...TRIALS[trial].body(given) };
    const began = performance.now();
    const answer = await infer(trial, body);
    const told = `${number(performance.now() - began, 1)} ms in all, ${number(answer.processingTimeMs, 1)} ms on the server`;
    result.replaceChildren(el("p", { class: "faint" }, told), TRIALS[trial].show(answer, given), code(about, trial, body));
  }));
  arrange();
  view.append(el("section", { class: "card" }, el("h2", {}, "Try a model"), form), el("section", { class: "card" }, el("h2", {}, "Result"), result));
}

function showVectors(answer, given) {
  const inputs = given.texts.length && answer.tokenCounts ? given.texts : given.pictures.map((_, place) => `picture ${place + 1}`);
  return el("div", {}, answer.embeddings.map((vector, place) => {
    const length = Math.hypot(...vector);
    const facts = [`${vector.length} dimensions`, `length ${number(length, 3)}`];
    if (answer.tokenCounts) facts.push(`${answer.tokenCounts[place]} tokens`, answer.truncated[place] ? "cut" : "not cut");
    const values = vector.slice(0, SHOWN_VALUES).map((value) => value.toFixed(4)).join(", ");
    return el("div", {}, el("h3", {}, inputs[place]), el("p", { class: "faint" }, facts.join(" · ")), bars(vector), el("pre", {}, `[${values}, …]`));
  }));
}

function bars(vector) {
  const shown = vector.slice(0, SHOWN_BARS);
  const most = Math.max(...shown.map(Math.abs)) || 1;
  const rects = shown.map((value, place) => {
    const height = (Math.abs(value) / most) * 20;
    return svg("rect", { x: place, width: 0.8, y: value > 0 ? 20 - height : 20, height });
  });
  return svg("svg", { class: "vector", viewBox: `0 0 ${shown.length} 40`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...rects);
}

function showSparse(answer, given) {
  return el("div", {}, answer.embeddings.map((vector, place) => scored(given.texts[place], vector.values.map((value, rank) => [vector.tokens?.[rank] ?? `#${vector.indices[rank]}`, value]))));
}

function showRanking(answer, given) {
  return scored(given.query, answer.results.map((one) => [given.texts[one.index], one.score]));
}

function showLabels(answer, given) {
  return el("div", {}, answer.results.map((labels, place) => scored(given.texts[place], labels.map((one) => [one.label, one.score]))));
}

function showClasses(answer) {
  return el("div", {}, answer.probabilities.map((row, place) => {
    const classes = row.map((value, label) => [`class ${label}`, value]).sort((one, other) => other[1] - one[1]);
    return scored(`picture ${place + 1}`, classes.slice(0, 5));
  }));
}

function showTokens(answer, given) {
  return el("ul", {}, answer.vectorCounts.map((count, place) => el("li", {}, `${given.texts[place]}: ${count} vectors`)));
}

export function scored(title, pairs) {
  const most = Math.max(...pairs.map(([, score]) => Math.abs(score)), 1e-9);
  return el("div", {}, title && el("h3", {}, title), el("table", {}, el("tbody", {}, pairs.map(([label, score]) => {
    const bar = el("span", { class: "bar" });
    bar.style.width = `${(100 * Math.max(0, score)) / most}%`;
    return el("tr", {}, el("td", {}, label, bar), el("td", { class: "number" }, number(score, 4)));
  }))));
}

function code(about, trial, body) {
  const address = `${location.protocol}//${location.hostname}:${about.inferencePort}`;
  const short = JSON.stringify(body, (_, value) => (typeof value === "string" && value.startsWith("data:") ? `${value.slice(0, 30)}…` : value));
  const quoted = short.replaceAll("'", "'\\''");
  const key = about.needsKey ? { curl: " -H 'Authorization: Bearer KEY'", js: ', Authorization: "Bearer KEY"', python: ', api_key="KEY"' } : { curl: "", js: "", python: "" };
  const { name, library, pretrained, text, image, query, documents } = body;
  const model = `client.model(${[name, library, pretrained].filter(Boolean).map((one) => JSON.stringify(one)).join(", ")})`;
  const inputs = { rerank: [query, documents], embed_image: [image], classify_image: [image] }[trial] || [text];
  const values = inputs.map((one) => (one === image ? '["picture.jpg"]' : JSON.stringify(one))).join(", ");
  const texts = {
    curl: `curl -s ${address}/${trial} -H 'Content-Type: application/json'${key.curl} \\\n  -d '${quoted}'`,
    Python: `import ingrain\n\nwith ingrain.Client("${address}"${key.python}) as client:\n    print(${model}.${trial}(${values}))`,
    JavaScript: `const answer = await fetch("${address}/${trial}", {\n  method: "POST",\n  headers: { "Content-Type": "application/json"${key.js} },\n  body: JSON.stringify(${short}),\n});\nconsole.log(await answer.json());`,
  };
  return el("details", {}, el("summary", {}, "This request as code"), Object.entries(texts).map(([language, source]) => {
    const copy = el("button", { type: "button", class: "quiet", "aria-label": `Copy the ${language} code` }, "Copy");
    copy.addEventListener("click", busy(copy, () => navigator.clipboard.writeText(source)));
    return el("div", {}, el("h3", {}, language, " ", copy), el("pre", {}, source));
  }));
}
