// requirements: cohere-ai@8.1.0
// dialect: Cohere
// title: cohere-ai (Node)
// Cohere's own client for JavaScript.

import assert from "node:assert/strict";

import { CohereClient, CohereClientV2 } from "cohere-ai";

const TEXTS = ["a red apple", "how do I reset my password?", ""];
const DOCUMENTS = ["the weather is fine today", "an apple is a fruit", "click on forgot password"];
const QUERY = "which fruit is red?";
const IMAGE =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAYAAAAECAIAAAAiZtkUAAAAI" +
  "ElEQVR4nGNkYGDQQEUsDDYMDAxcyAguJAJHyEJyEAQAY6QCjimB6fsAAAAASUVORK5CYII=";

const client = (server, url) => new CohereClientV2({ token: server.key, environment: url ?? server.url });

function close(found, expected) {
  assert.equal(found.length, expected.length);
  found.forEach((one, row) => {
    assert.equal(one.length, expected[row].length);
    one.forEach((number, place) => assert.ok(Math.abs(number - expected[row][place]) < 1e-6));
  });
}

const asked = (server, fields) => ({
  texts: TEXTS,
  model: server.dense,
  inputType: "search_document",
  embeddingTypes: ["float"],
  ...fields,
});

export async function embed(server) {
  const answer = await client(server).embed(asked(server, { texts: TEXTS.slice(0, 1), inputType: "search_query" }));
  close(answer.embeddings.float, await server.vectors(TEXTS.slice(0, 1), { inputType: "query" }));
}

export async function batch(server) {
  const answer = await client(server).embed(asked(server));
  close(answer.embeddings.float, await server.vectors(TEXTS, { inputType: "document" }));
  const old = await new CohereClient({ token: server.key, environment: server.url }).embed({
    texts: TEXTS,
    model: server.dense,
    inputType: "search_document",
  });
  close(old.embeddings, answer.embeddings.float);
}

export async function base64(server) {
  const answer = await client(server).embed(asked(server, { embeddingTypes: ["base64"] }));
  const found = answer.embeddings.base64.map((text) => {
    const bytes = Buffer.from(text, "base64");
    return Array.from({ length: bytes.length / 4 }, (_, place) => bytes.readFloatLE(4 * place));
  });
  close(found, await server.vectors(TEXTS, { inputType: "document" }));
}

export async function dimensions(server) {
  const answer = await client(server).embed(asked(server, { outputDimension: 64 }));
  close(answer.embeddings.float, await server.vectors(TEXTS, { inputType: "document", nDims: 64 }));
}

export async function rerank(server) {
  const answer = await client(server).rerank({ model: server.reranker, query: QUERY, documents: DOCUMENTS, topN: 2 });
  const scores = await server.scores(QUERY, DOCUMENTS);
  const best = scores.map((_, place) => place).sort((a, b) => scores[b] - scores[a]).slice(0, 2);
  assert.deepEqual(answer.results.map((one) => one.index), best);
  answer.results.forEach((one) => assert.ok(Math.abs(one.relevanceScore - scores[one.index]) < 1e-6));
}

export async function images(server) {
  const answer = await client(server).embed({
    inputs: [{ content: [{ type: "image_url", imageUrl: { url: IMAGE } }] }],
    model: server.clip,
    inputType: "image",
    embeddingTypes: ["float"],
  });
  assert.ok(answer.embeddings.float[0].length > 8);
}

export async function errors(server) {
  const wrong = [
    [404, { model: "no-such-model" }, server.key],
    [401, {}, "wrong"],
    [400, { truncate: "NONE", texts: ["word ".repeat(4000)] }, server.key],
    [400, { model: server.reranker }, server.key],
  ];
  for (const [status, fields, key] of wrong) {
    const refused = new CohereClientV2({ token: key, environment: server.url }).embed(asked(server, fields));
    await assert.rejects(refused, (error) => error.statusCode === status && Boolean(error.body.message));
  }
}

export async function retry_on_429(server) {
  await server.makeBusy();
  const answer = await client(server, server.busy_url).embed(asked(server));
  close(answer.embeddings.float, await server.vectors(TEXTS, { inputType: "document" }));
}
