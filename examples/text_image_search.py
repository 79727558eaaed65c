"""Search a folder of images with text, by a model that has a text and an image tower; numpy is the index.

pip install httpx numpy
python examples/text_image_search.py FOLDER "a dog on a beach"
"""

import base64
import os
import sys
from pathlib import Path

import httpx
import numpy as np

URL = os.environ.get("INGRAIN_INFERENCE_URL", "http://127.0.0.1:8686")
MODEL = os.environ.get("INGRAIN_MODEL", "ViT-B-32")
KEY = os.environ.get("INGRAIN_API_KEY", "none")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
IMAGES_PER_REQUEST = 32


def embed(client: httpx.Client, path: str, **fields: object) -> np.ndarray:
    """Return unit vectors, float32 [N, D], as raw numbers."""
    answer = client.post(path, json={"name": MODEL, **fields}, headers={"Accept": "application/octet-stream"})
    if answer.is_error:
        sys.exit(answer.json()["message"])
    rows, columns = map(int, answer.headers["x-embeddings-shape"].split(","))
    return np.frombuffer(answer.content, "<f4").reshape(rows, columns)


def main(folder: str, query: str) -> None:
    """Embed the pictures and the query, and print the five pictures that are nearest."""
    pictures = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)
    if not pictures:
        sys.exit(f"There is no picture in {folder}.")
    with httpx.Client(base_url=URL, timeout=120, headers={"Authorization": f"Bearer {KEY}"}) as client:
        index = np.concatenate(
            [
                embed(
                    client,
                    "/embed_image",
                    image=[
                        base64.b64encode(path.read_bytes()).decode()
                        for path in pictures[start : start + IMAGES_PER_REQUEST]
                    ],
                )
                for start in range(0, len(pictures), IMAGES_PER_REQUEST)
            ]
        )
        (wanted,) = embed(client, "/embed_text", text=query)
    cosines = index @ wanted  # vectors of unit length, so that the product is the cosine
    for place in np.argsort(-cosines)[:5]:
        print(f"{cosines[place]:.3f}  {pictures[place].name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
