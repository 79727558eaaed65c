// Shows the plane's OpenAPI document with Swagger UI, and names loaded models in the examples.

const form = document.getElementById("key-form");
const notice = document.getElementById("notice");

const TRIED = "infer"; // the scope of the routes whose examples are filled in; the others load and delete models

const tasksOf = (model) => (model.tasks?.length ? model.tasks : [model.task || "embed"]);
const encodes = (libraries) => (model) => libraries.includes(model.library) && tasksOf(model).includes("embed");
const does = (task, library) => (model) => tasksOf(model).includes(task) && (!library || model.library === library);

// Which loaded model stands for the one that an example names.
const STAND_INS = {
  "intfloat/e5-small-v2": encodes(["sentence_transformers", "open_clip"]),
  "ViT-B-32": encodes(["open_clip"]),
  "timm/resnet18.a1_in1k": does("classify", "timm"),
  "naver/splade-v3": does("embed_sparse"),
  "lightonai/GTE-ModernColBERT-v1": does("embed_multi_vector"),
  "cross-encoder/ms-marco-MiniLM-L6-v2": does("rerank"),
  "cross-encoder/nli-deberta-v3-small": does("classify", "sentence_transformers"),
  "distilbert/distilbert-base-uncased-finetuned-sst-2-english": does("classify", "sentence_transformers"),
};

function nameLoadedModels(document, models) {
  const standIn = (name) => models.find(STAND_INS[name] || (() => false));
  for (const operation of Object.values(document.paths).flatMap((operations) => Object.values(operations))) {
    for (const parameter of operation.parameters || []) {
      parameter.example = standIn(parameter.example)?.name || parameter.example;
    }
    const example = operation.requestBody?.content["application/json"]?.example;
    if (!example || !operation.security?.some((needed) => needed.key?.includes(TRIED))) continue;
    for (const field of ["name", "model"]) {
      const model = standIn(example[field]);
      if (!model) continue;
      example[field] = model.name;
      if (model.pretrained) example.pretrained = model.pretrained;
      else delete example.pretrained;
      if (example.library) example.library = model.library;
    }
  }
}

async function get(path, key) {
  const response = await fetch(path, { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  const body = await response.json();
  // /ready answers 503 with its usual body while the server starts.
  if (response.status >= 400 && !body.models) throw Object.assign(new Error(body.message), { status: response.status });
  return body;
}

async function show(key) {
  const [spec, { models }] = await Promise.all([get("/openapi.json", key), get("/ready", key)]);
  nameLoadedModels(spec, models.filter((model) => model.state === "READY"));
  const ui = window.SwaggerUIBundle({
    spec,
    dom_id: "#docs",
    deepLinking: true,
    docExpansion: "none",
    defaultModelsExpandDepth: -1,
    tryItOutEnabled: true,
    validatorUrl: null, // else a public service is asked whether the document is valid
    onComplete: () => {
      if (key) ui.preauthorizeApiKey("key", key);
      ui.layoutActions.show(["operations-tag", spec.tags[0].name], true);
    },
  });
}

async function start(key) {
  try {
    await show(key);
    form.hidden = notice.hidden = true;
  } catch (error) {
    form.hidden = error.status !== 401;
    notice.textContent = form.hidden || key ? error.message : "This server has keys: enter one to see its routes.";
    notice.hidden = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  start(document.getElementById("key").value.trim());
});
start("");
