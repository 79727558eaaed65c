// requirements: ai@6.0.326 @ai-sdk/openai@3.0.141
// dialect: OpenAI
// title: ai, @ai-sdk/openai (Node)
// Vercel's AI SDK with its provider for OpenAI.

import assert from "node:assert/strict";

import { createOpenAI } from "@ai-sdk/openai";
import { embed as embedOne, embedMany } from "ai";

const TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", "w1 w2"];

const model = (server, { url, apiKey, name } = {}) =>
  createOpenAI({ baseURL: `${url ?? server.url}/v1`, apiKey: apiKey ?? server.key }).textEmbeddingModel(
    name ?? server.dense,
  );

function close(found, expected) {
  assert.equal(found.length, expected.length);
  found.forEach((one, row) => {
    assert.equal(one.length, expected[row].length);
    one.forEach((number, place) => assert.ok(Math.abs(number - expected[row][place]) <= 1e-6));
  });
}

export async function embed(server) {
  const { embedding, usage } = await embedOne({ model: model(server), value: TEXTS[0] });
  close([embedding], await server.vectors(TEXTS.slice(0, 1)));
  assert.ok(usage.tokens > 0);
}

export async function batch(server) {
  const { embeddings } = await embedMany({ model: model(server), values: TEXTS });
  close(embeddings, await server.vectors(TEXTS));
}

export async function dimensions(server) {
  const providerOptions = { openai: { dimensions: 64 } };
  const { embeddings } = await embedMany({ model: model(server), values: TEXTS, providerOptions });
  close(embeddings, await server.vectors(TEXTS, { nDims: 64 }));
}

export async function errors(server) {
  const once = { value: TEXTS[0], maxRetries: 0 };
  await assert.rejects(embedOne({ model: model(server, { name: "absent" }), ...once }), /absent/);
  await assert.rejects(embedOne({ model: model(server, { apiKey: "wrong" }), ...once }), /key/);
}

export async function retry_on_429(server) {
  const busy = model(server, { url: server.busy_url });
  await server.makeBusy();
  await assert.rejects(embedOne({ model: busy, value: TEXTS[0], maxRetries: 0 }), { statusCode: 429 });
  await server.makeBusy();
  const { embeddings } = await embedMany({ model: busy, values: TEXTS, maxRetries: 2 });
  close(embeddings, await server.vectors(TEXTS));
}
