// requirements: ollama@0.6.4
// dialect: Ollama
// title: ollama (JavaScript)
// Ollama's own client for Node.js and browsers.
import assert from "node:assert/strict";
import { Ollama } from "ollama";

const TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", ""];

function client(host, key) {
  return new Ollama({ host, headers: { Authorization: `Bearer ${key}` } });
}

function check(given, expected) {
  assert.equal(given.length, expected.length);
  given.forEach((vector, row) => {
    assert.equal(vector.length, expected[row].length);
    vector.forEach((number, column) => assert.ok(Math.abs(number - expected[row][column]) <= 1e-6));
  });
}

export async function embed(server) {
  const answer = await client(server.url, server.key).embed({ model: server.dense, input: TEXTS[0] });
  check(answer.embeddings, await server.vectors(TEXTS.slice(0, 1)));
  assert.equal(answer.prompt_eval_count, 9);
}

export async function batch(server) {
  const answer = await client(server.url, server.key).embed({ model: `${server.dense}:latest`, input: TEXTS });
  check(answer.embeddings, await server.vectors(TEXTS));
}

export async function dimensions(server) {
  const answer = await client(server.url, server.key).embed({ model: server.dense, input: TEXTS, dimensions: 64 });
  check(answer.embeddings, await server.vectors(TEXTS, { nDims: 64 }));
}

export async function embeddings(server) {
  const answer = await client(server.url, server.key).embeddings({ model: server.dense, prompt: TEXTS[1] });
  check([answer.embedding], await server.vectors(TEXTS.slice(1, 2), { normalize: false }));
}

export async function errors(server) {
  const ours = client(server.url, server.key);
  const model = server.dense;
  await assert.rejects(ours.embed({ model: "none", input: "x" }), /try pulling it first/);
  await assert.rejects(ours.embed({ model, input: "word ".repeat(300), truncate: false }), /context length/);
  await assert.rejects(ours.generate({ model, prompt: "x" }), /does not support generate/);
  await assert.rejects(client(server.url, "wrong").list(), /key/);
}

export async function models(server) {
  const ours = client(server.url, server.key);
  const names = (await ours.list()).models.map((one) => one.name);
  assert.ok(names.includes(`${server.dense}:latest`));
  assert.deepEqual((await ours.ps()).models.map((one) => one.name), names);
  assert.deepEqual((await ours.show({ model: server.dense })).capabilities, ["embedding"]);
}

export async function pull(server) {
  const ours = client(server.model_url, server.key);
  const steps = [];
  for await (const step of await ours.pull({ model: server.dense, stream: true })) steps.push(step.status);
  assert.equal(steps[0], "pulling manifest");
  assert.equal(steps.at(-1), "success");
  assert.equal((await ours.pull({ model: server.dense })).status, "success");
}
