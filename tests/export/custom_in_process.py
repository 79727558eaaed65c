"""What the tests of custom models run in the process that has torch."""

from pathlib import Path
from typing import Any

from ingrain.export.process.job import ExportJob
from ingrain.repository.manifest import Manifest


def build_text(name: str, folder: Path) -> None:
    """Build a small sentence-transformers model: a family by its name, or one with cls pooling and a Normalize."""
    from tiny_models import build_family, build_pipeline

    if name == "cls, normalized":
        build_pipeline(folder, modules=[("Pooling", {"pooling_mode": "cls"}), ("Normalize", {})])
    else:
        build_family(name, folder)


def run(job: ExportJob) -> Manifest:
    """Do what the export process does with a job."""
    from ingrain.export.process.worker import run_job

    return run_job(job, lambda _: None)


def only_vocabulary(folder: Path) -> None:
    """Replace the tokenizer of a folder by BERT's own, made of the same words alone."""
    import json

    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    (folder / "vocab.txt").write_text("\n".join(sorted(words, key=words.__getitem__)) + "\n")


def configuration_of(library: str, name: str) -> dict[str, Any]:
    """Answer as the process that knows the libraries' architectures does."""
    from ingrain.export.process.architectures import config_of

    return config_of(library, name)


def count_open_clip_architectures() -> int:
    """Compare what is said of each architecture with the library's own words, and count them."""
    import open_clip

    from ingrain.export.process.architectures import config_of

    names = open_clip.list_models()
    for name in names:
        assert config_of("open_clip", name) == {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
    return len(names)
