"""Embed with OpenAI's own client: set its base URL, and name a model that Ingrain has loaded.

pip install openai
python examples/openai_client.py
"""

import os

import openai

URL = os.environ.get("INGRAIN_INFERENCE_URL", "http://127.0.0.1:8686")
MODEL = os.environ.get("INGRAIN_MODEL", "all-MiniLM-L6-v2")

# Any key works unless the operator has set keys; then use one of those.
client = openai.OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("INGRAIN_API_KEY", "none"))

print("models:", [model.id for model in client.models.list()])

texts = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "The stock market fell today."]
answer = client.embeddings.create(model=MODEL, input=texts)
cat, kitten, stocks = (item.embedding for item in answer.data)
print(f"{len(cat)} dimensions, {answer.usage.total_tokens} tokens")
print(f"cat and kitten: {sum(a * b for a, b in zip(cat, kitten, strict=True)):.3f}")
print(f"cat and stocks: {sum(a * b for a, b in zip(cat, stocks, strict=True)):.3f}")

# Fields that OpenAI's API does not have go into extra_body: prompts, output types, truncation.
answer = client.embeddings.create(
    model=MODEL, input=texts, dimensions=256, extra_body={"input_type": "query", "output_dtype": "ubinary"}
)
print(f"256 dimensions in {len(answer.data[0].embedding)} bytes: {answer.data[0].embedding[:4]} ...")

try:
    client.embeddings.create(model="text-embedding-3-small", input=texts)
except openai.NotFoundError as error:
    print("refused:", error.message)
