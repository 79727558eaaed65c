// Runs the functions that one client's program exports. Arguments and output are those of harness.py.
const [file, description] = process.argv.slice(2);
const facts = JSON.parse(description);

class Server {
  constructor() {
    Object.assign(this, facts);
  }

  async makeBusy() {
    await (await fetch(`${this.busy_url}/__make_busy__`)).text();
  }

  async post(path, body) {
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${this.key}` };
    const answer = await fetch(this.url + path, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return await answer.json();
  }

  async vectors(texts, fields = {}) {
    return (await this.post("/embed_text", { name: this.dense, text: texts, ...fields })).embeddings;
  }

  async scores(query, documents) {
    const { results } = await this.post("/rerank", { name: this.reranker, query, documents });
    return results.sort((a, b) => a.index - b.index).map((one) => one.score);
  }
}

const results = {};
try {
  const program = await import(file);
  for (const [name, run] of Object.entries(program)) {
    try {
      await run(new Server());
      results[name] = "ok";
    } catch (error) {
      console.error(error);
      results[name] = `${error.name}: ${error.message}`.replace(/\s+/g, " ").slice(0, 300);
    }
  }
} catch (error) {
  console.error(error);
  results.import = `${error.name}: ${error.message}`.slice(0, 300);
}
console.log(JSON.stringify(results));
process.exit(0);
