// Labels of one's own for texts and pictures, without training.

import { infer, named, readyModels, tasksOf } from "/ui/api.js";
import { busy, el, field, lines, select } from "/ui/dom.js";
import { pictureInput } from "/ui/pictures.js";
import { scored } from "/ui/try.js";

export async function labelsView(view) {
  const models = (await readyModels()).filter((model) => model.library === "open_clip" || (model.library === "sentence_transformers" && tasksOf(model).includes("classify")));
  if (!models.length) return view.append(el("p", { class: "card" }, "This needs an OpenCLIP model for pictures, or a model of natural language inference for texts. Load one in Models."));
  const choice = select(models.map((model, place) => [place, model.name]));
  const labels = el("textarea", { value: "weather\nsports\npolitics" });
  const text = el("textarea", { value: "The river has burst its banks after three days of rain." });
  const pictures = pictureInput();
  const textField = field("Texts, one a line", text, true);
  const run = el("button", {}, "Label");
  const result = el("div", { "aria-live": "polite" });
  const form = el("form", {}, el("div", { class: "row" }, field("Model", choice), field("Labels, one a line", labels, true), textField, pictures.node, run));
  const ofPictures = () => models[Number(choice.value)].library === "open_clip";
  const arrange = () => {
    textField.hidden = ofPictures();
    pictures.node.hidden = !ofPictures();
  };
  choice.addEventListener("change", arrange);
  form.addEventListener("submit", busy(run, async () => {
    const body = { ...named(models[Number(choice.value)]), labels: lines(labels.value) };
    if (ofPictures()) {
      const answer = await infer("classify_image_zero_shot", { ...body, image: pictures.urls() });
      const rows = answer.probabilities.map((row) => row.map((value, place) => [answer.labels[place], value]).sort((one, other) => other[1] - one[1]));
      result.replaceChildren(...rows.map((row, place) => scored(`picture ${place + 1}`, row)));
    } else {
      const texts = lines(text.value);
      const answer = await infer("classify_text_zero_shot", { ...body, text: texts });
      result.replaceChildren(...answer.results.map((row, place) => scored(texts[place], row.map((one) => [one.label, one.score]))));
    }
  }));
  arrange();
  view.append(el("section", { class: "card" }, el("h2", {}, "Labels without training"), form), el("section", { class: "card" }, el("h2", {}, "Probabilities"), result));
}
