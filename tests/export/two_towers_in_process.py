"""What the tests of sentence-transformers models with two towers run in the process that has torch."""

import shutil
from io import BytesIO
from pathlib import Path

import clip_in_process
import export_in_process
import msgspec
import numpy as np
from PIL import Image

from images import encode, scene
from ingrain.repository.image_preprocess import ImagePreprocess
from ingrain.repository.manifest import Manifest


def pictures() -> dict[str, bytes]:
    """Return pictures that are neither square nor uniform, of every mode that transformers has a rule for."""
    photo = scene(137, 90)
    faded = photo.convert("RGBA")
    faded.putalpha(Image.linear_gradient("L").resize(photo.size))
    palette = photo.quantize(48)
    return {
        "RGB": encode(photo, "PNG"),
        "RGB, upright and odd": encode(scene(51, 128, 1), "PNG"),
        "RGB, small": encode(scene(23, 31, 2), "JPEG"),
        "L": encode(scene(120, 77, 3).convert("L"), "PNG"),
        "RGBA": encode(faded, "PNG"),
        "LA": encode(faded.convert("LA"), "PNG"),
        "P": encode(palette, "PNG"),
        "P with a transparent colour": encode(palette, "PNG", transparency=7),
        "CMYK": encode(scene(99, 64, 4).convert("CMYK"), "JPEG"),
    }


def vectors(folder: Path, files: list[bytes]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return what the published files give and what ``SentenceTransformer.encode`` gives, by tower, to unit length."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder / "models" / "model"), device="cpu")
    opened = [Image.open(BytesIO(data)) for data in files]
    texts = export_in_process.TEXTS
    embed = export_in_process.open_published(folder / "output")
    ours = np.concatenate([embed([text]) for text in texts])
    return {
        "text": (_unit(ours), _unit(model.encode(texts, batch_size=1))),
        "image": (clip_in_process.embed_pictures(folder / "output", files), _unit(model.encode(opened))),
    }


def logits(folder: Path, files: list[bytes], labels: list[str]) -> np.ndarray:
    """Return what the network's own forward makes of pictures and labels, one label beside the other."""
    from sentence_transformers import SentenceTransformer

    module = SentenceTransformer(str(folder / "models" / "model"), device="cpu")[0]
    pixels = module.preprocess([Image.open(BytesIO(data)) for data in files])
    rows = []
    for label in labels:  # each alone: beside others it would be padded
        inputs = {**module.preprocess([label]), **pixels}
        inputs.pop("modality")
        rows.append(module.model(**inputs).logits_per_image.detach().numpy()[:, 0])
    return np.stack(rows, axis=1)


def verify(folder: Path, scratch: Path) -> Manifest:
    """Publish what was exported, and prove it again as ``ingrain verify`` does."""
    from ingrain.export.process.worker import run_job
    from ingrain.repository.store import Repository

    repository = Repository(scratch / "repository")
    repository.prepare()
    with repository.staging() as staged:
        shutil.copytree(folder / "output", staged, dirs_exist_ok=True)
        repository.publish(staged)
    shutil.copytree(folder / "models", scratch / "models")
    job = export_in_process.job_of(scratch)
    return run_job(msgspec.structs.replace(job, stored_in=str(scratch / "repository")), lambda _: None)


def export_without(source: Path, scratch: Path, tensors: str) -> Manifest:
    """Export a copy of a model whose weights lack every tensor with a word in its name."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(source / "models", scratch / "models")
    path = next((scratch / "models").rglob("model.safetensors"))
    weights = load_file(path)
    kept = {name: value for name, value in weights.items() if tensors not in name}
    assert len(kept) < len(weights)
    save_file(kept, path, metadata={"format": "pt"})
    return export_in_process.export_manifest(scratch)


def geometry(kind: str, **options: object) -> ImagePreprocess:
    """Return our translation of an image processor of transformers."""
    import transformers

    from ingrain.export.huggingface.image_processor import preprocess_config_from_transformers

    return preprocess_config_from_transformers(getattr(transformers, kind)(**options))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
