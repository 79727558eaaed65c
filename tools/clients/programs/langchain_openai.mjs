// requirements: @langchain/openai@1.5.8 @langchain/core@1.4.0
// dialect: OpenAI
// title: @langchain/openai OpenAIEmbeddings (Node)
// LangChain's class for OpenAI in JavaScript.

import assert from "node:assert/strict";

import { OpenAIEmbeddings } from "@langchain/openai";

const TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", "w1 w2"];

const embeddings = (server, { url, apiKey, ...fields } = {}) =>
  new OpenAIEmbeddings({
    model: server.dense,
    apiKey: apiKey ?? server.key,
    maxRetries: 0,
    configuration: { baseURL: `${url ?? server.url}/v1` },
    ...fields,
  });

function close(found, expected) {
  assert.equal(found.length, expected.length);
  found.forEach((one, row) => {
    assert.equal(one.length, expected[row].length);
    one.forEach((number, place) => assert.ok(Math.abs(number - expected[row][place]) <= 1e-6));
  });
}

export async function embed(server) {
  close([await embeddings(server).embedQuery(TEXTS[0])], await server.vectors(TEXTS.slice(0, 1)));
}

export async function batch(server) {
  close(await embeddings(server).embedDocuments(TEXTS), await server.vectors(TEXTS));
}

export async function base64(server) {
  const found = await embeddings(server, { encodingFormat: "base64" }).embedDocuments(TEXTS);
  const numbers = found.map((text) => {
    const bytes = Buffer.from(text, "base64");
    return Array.from({ length: bytes.length / 4 }, (_, place) => bytes.readFloatLE(4 * place));
  });
  close(numbers, await server.vectors(TEXTS));
}

export async function dimensions(server) {
  const found = await embeddings(server, { dimensions: 64 }).embedDocuments(TEXTS);
  close(found, await server.vectors(TEXTS, { nDims: 64 }));
}

export async function errors(server) {
  await assert.rejects(embeddings(server, { model: "absent" }).embedQuery(TEXTS[0]), /absent/);
  await assert.rejects(embeddings(server, { apiKey: "wrong" }).embedQuery(TEXTS[0]), /key/);
}

export async function retry_on_429(server) {
  await server.makeBusy();
  const found = await embeddings(server, { url: server.busy_url, maxRetries: 2 }).embedDocuments(TEXTS);
  close(found, await server.vectors(TEXTS));
}
