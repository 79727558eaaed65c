// requirements: openai@6.49.0
// dialect: OpenAI
// title: openai (Node)
// OpenAI's own client for JavaScript.

import assert from "node:assert/strict";

import OpenAI, { AzureOpenAI } from "openai";

const TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", "w1 w2"];

const client = (server, fields) =>
  new OpenAI({ baseURL: `${server.url}/v1`, apiKey: server.key, maxRetries: 0, ...fields });

function close(found, expected) {
  assert.equal(found.length, expected.length);
  found.forEach((one, row) => {
    assert.equal(one.length, expected[row].length);
    one.forEach((number, place) => assert.ok(Math.abs(number - expected[row][place]) <= 1e-6));
  });
}

async function vectors(from, server, fields) {
  const answer = await from.embeddings.create({ model: server.dense, input: TEXTS, ...fields });
  return answer.data.map((one) => one.embedding);
}

export async function embed(server) {
  close(await vectors(client(server), server, { input: TEXTS[0] }), await server.vectors(TEXTS.slice(0, 1)));
}

export async function batch(server) {
  close(await vectors(client(server), server, { encoding_format: "float" }), await server.vectors(TEXTS));
  const azure = new AzureOpenAI({ endpoint: server.url, apiKey: server.key, apiVersion: "2024-10-21" });
  close(await vectors(azure, server), await server.vectors(TEXTS));
}

// The client asks for base64 by itself.
export async function base64(server) {
  close(await vectors(client(server), server), await server.vectors(TEXTS));
}

export async function dimensions(server) {
  close(await vectors(client(server), server, { dimensions: 64 }), await server.vectors(TEXTS, { nDims: 64 }));
}

export async function errors(server) {
  await assert.rejects(vectors(client(server), server, { model: "absent" }), OpenAI.NotFoundError);
  await assert.rejects(vectors(client(server), server, { dimensions: 9999 }), OpenAI.BadRequestError);
  await assert.rejects(vectors(client(server, { apiKey: "wrong" }), server), OpenAI.AuthenticationError);
}

export async function retry_on_429(server) {
  const baseURL = `${server.busy_url}/v1`;
  await server.makeBusy();
  await assert.rejects(vectors(client(server, { baseURL }), server), OpenAI.RateLimitError);
  await server.makeBusy();
  close(await vectors(client(server, { baseURL, maxRetries: 2 }), server), await server.vectors(TEXTS));
}

export async function models(server) {
  const names = [];
  for await (const model of client(server).models.list()) names.push(model.id);
  assert.ok(names.includes(server.dense));
}
