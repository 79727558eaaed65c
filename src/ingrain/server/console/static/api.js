// Requests to the server that serves this page. Routes of the inference plane are under /ui/api.

const STORED_KEY = "ingrain-api-key";

export const key = () => sessionStorage.getItem(STORED_KEY) || "";
export const useKey = (value) => (value ? sessionStorage.setItem(STORED_KEY, value) : sessionStorage.removeItem(STORED_KEY));

function headers(more = {}) {
  return key() ? { Authorization: `Bearer ${key()}`, ...more } : more;
}

async function checked(response) {
  if (response.ok) return response;
  let told = `${response.status} ${response.statusText}`;
  try {
    told = (await response.json()).message || told;
  } catch {
    // A proxy may answer without JSON.
  }
  throw new Error(response.status === 401 ? `${told} Enter a key above.` : told);
}

async function send(method, path, body) {
  const options = { method, headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }) };
  if (body !== undefined) options.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer.");
  }
  return checked(response);
}

export const get = async (path) => (await send("GET", path)).json();
export const post = async (path, body) => (await send("POST", path, body)).json();
export const remove = async (path, body) => (await send("DELETE", path, body)).json();
export const infer = (route, body) => post(`/ui/api/${route}`, body);

// Calls `onEvent(kind, data)` for each server-sent event until the stream ends. EventSource cannot send a key.
export async function follow(path, onEvent) {
  const response = await checked(await fetch(path, { headers: headers() }));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const parts = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      onEvent(parts.event, JSON.parse(parts.data));
    }
  }
}

export async function readyModels() {
  const { models } = await get("/repository_models");
  return models.filter((model) => model.state === "READY");
}

export const tasksOf = (model) => (model.tasks?.length ? model.tasks : [model.task || "embed"]);
export const takesTexts = (model) => model.library !== "timm";
export const takesImages = (model) => model.library !== "sentence_transformers";
export const named = (model) => ({
  name: model.name,
  library: model.library,
  ...(model.pretrained ? { pretrained: model.pretrained } : {}),
});
