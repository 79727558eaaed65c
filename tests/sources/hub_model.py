"""A model for the hub of the tests, and a way to fetch it."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from hub_server import HubServer
from ingrain.libraries import FileRules
from ingrain.progress import Progress
from ingrain.sources.files import file_rules
from ingrain.sources.hub import Hub, Snapshot, fetch_model

# What huggingface_hub does by itself where a connection breaks: seconds of silence that it bears, tries to continue.
SILENCE_S, TRIES = 0.5, 6

WEIGHTS = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(100_000))  # 3.2 MB without pattern

MODEL = {
    "config.json": b'{"model_type": "bert"}',
    "modules.json": b"[]",
    "1_Pooling/config.json": b"{}",
    "tokenizer.json": b'{"a": 1}' * 1000,
    "vocab.txt": "[PAD]\nüber\n".encode(),
    "README.md": b"# A model",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickle" * 1000,
    "onnx/model.onnx": b"onnx" * 1000,
    "onnx/config.json": b"{}",
    "tf_model.h5": b"h5" * 1000,
    "modeling_custom.py": b"print('code')",
}

FETCHED = {"config.json", "modules.json", "1_Pooling/config.json", "tokenizer.json", "vocab.txt", "model.safetensors"}


@dataclass
class Fetcher:
    """Fetches from the server of the test into a cache of its own, and keeps what progress was reported."""

    hub: HubServer
    cache_dir: Path
    progress: list[Progress] = field(default_factory=list)

    def __call__(
        self,
        repo_id: str = "org/model",
        *,
        revision: str | None = None,
        token: str | None = None,
        offline: bool = False,
        trust_remote_code: bool = False,
        endpoint: str | None = None,
        rules: FileRules | None = None,
    ) -> Snapshot:
        return fetch_model(
            repo_id,
            revision=revision,
            hub=Hub(
                endpoint=endpoint or self.hub.url,
                cache_dir=self.cache_dir,
                token=token,
                offline=offline,
            ),
            progress=self.progress.append,
            rules=rules or file_rules("sentence_transformers", pickled_weights=True, with_code=trust_remote_code),
        )

    def weights(self, repo_id: str = "org/model") -> Path:
        return self.cache_dir / f"models--{repo_id.replace('/', '--')}" / "blobs" / hashlib.sha256(WEIGHTS).hexdigest()
