// How similar texts and pictures are to each other: cosines of their vectors, as a heat map.

import { infer, named, readyModels, takesImages, takesTexts, tasksOf } from "/ui/api.js";
import { busy, el, field, lines, select } from "/ui/dom.js";
import { pictureInput } from "/ui/pictures.js";

const dot = (one, other) => one.reduce((sum, value, place) => sum + value * other[place], 0);

export async function matrixView(view) {
  const models = (await readyModels()).filter((model) => tasksOf(model).includes("embed"));
  if (!models.length) return view.append(el("p", { class: "card" }, "No model that embeds is loaded. Load one in Models."));
  const choice = select(models.map((model, place) => [place, model.name]));
  const text = el("textarea", { value: "A man plays a guitar.\nSomebody makes music.\nThe stock market fell today.\nShares lost value." });
  const pictures = pictureInput();
  const textField = field("Texts, one a line", text, true);
  const run = el("button", {}, "Compare");
  const result = el("div", { class: "scroll", role: "region", "aria-label": "Similarities", tabIndex: 0 });
  const form = el("form", {}, el("div", { class: "row" }, field("Model", choice), textField, pictures.node, run));

  const arrange = () => {
    const model = models[Number(choice.value)];
    textField.hidden = !takesTexts(model);
    pictures.node.hidden = !takesImages(model);
  };
  choice.addEventListener("change", arrange);
  form.addEventListener("submit", busy(run, async () => {
    const model = models[Number(choice.value)];
    const texts = takesTexts(model) ? lines(text.value) : [];
    const images = takesImages(model) ? pictures.urls() : [];
    const vectors = [];
    if (texts.length) vectors.push(...(await infer("embed_text", { ...named(model), text: texts })).embeddings);
    if (images.length) vectors.push(...(await infer("embed_image", { ...named(model), image: images })).embeddings);
    if (vectors.length < 2) throw new Error("Give at least two texts or pictures.");
    result.replaceChildren(heatMap([...texts, ...images], vectors));
  }));
  arrange();
  view.append(el("section", { class: "card" }, el("h2", {}, "Similarity of texts and pictures"), form), el("section", { class: "card" }, el("h2", {}, "Cosine similarity"), result));
}

function heatMap(items, vectors) {
  const similar = vectors.map((one) => vectors.map((other) => dot(one, other)));
  const others = similar.flatMap((row, place) => row.filter((_, column) => column !== place));
  const least = Math.min(...others), most = Math.max(...others, least + 1e-6);
  const head = (item, scope) => el("th", { scope }, item.startsWith("data:") ? el("img", { src: item, alt: "picture" }) : item);
  return el(
    "table",
    { class: "heat" },
    el("thead", {}, el("tr", {}, el("td"), items.map((item) => head(item, "col")))),
    el("tbody", {}, similar.map((row, place) => el("tr", {}, head(items[place], "row"), row.map((value) => {
      const cell = el("td", {}, value.toFixed(2));
      const share = Math.min(1, Math.max(0, (value - least) / (most - least)));
      cell.style.background = `rgb(var(--heat) / ${(0.45 * share).toFixed(2)})`;
      return cell;
    })))),
  );
}
