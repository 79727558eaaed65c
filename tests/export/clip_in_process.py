"""What the tests of OpenCLIP and timm run in the process that has torch."""

import json
import os
import random
import runpy
import shutil
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import numpy as np

from ingrain.errors import IngrainError
from ingrain.export.process.job import ExportJob
from ingrain.repository.manifest import Manifest
from ingrain.vocabulary import Library

TEXTS = [
    "a river runs to the sea",
    "",
    "COFFEE &amp; cake in Berlin 🙂 東京",
    "a much longer text about stone " * 30,
    "x!!",
]


@dataclass(frozen=True)
class Exported:
    """A finished export, with what its published files give and what the source gives."""

    manifest: Manifest
    output: Path
    ours: dict[str, np.ndarray]
    theirs: dict[str, np.ndarray]


def job_of(folder: Path, library: Library, name: str = "model", **options: Any) -> ExportJob:
    """Return the job for a model below ``models``."""
    (folder / "output").mkdir(exist_ok=True)
    return ExportJob(
        name=name,
        library=library,
        output=str(folder / "output"),
        local_models_dir=str(folder / "models"),
        **options,
    )


def run(folder: Path, library: Library, **options: Any) -> Manifest:
    """Export ``models/model`` as the worker does."""
    from ingrain.export.process.worker import run_job

    return run_job(job_of(folder, library, **options), lambda _: None)


def run_job_in(job: ExportJob, environment: dict[str, str]) -> Manifest:
    """Do what the export process does with a job, where the environment has further variables."""
    from ingrain.export.process.worker import run_job

    with mock.patch.dict(os.environ, environment):
        return run_job(job, lambda _: None)


def export_clip(name: str, folder: Path) -> Exported:
    """Build a small OpenCLIP model, export it, and ask both the published files and OpenCLIP itself."""
    from tiny_clip import build_tiny_clip

    source = build_tiny_clip(name, folder / "models" / "model")
    manifest = run(folder, "open_clip")
    ours = {"text_encoder": embed_texts(folder / "output", TEXTS), "image_encoder": embed_pictures(folder / "output")}
    return Exported(manifest, folder / "output", ours, ask_open_clip(source))


def ask_open_clip(folder: Path) -> dict[str, np.ndarray]:
    """Return OpenCLIP's own vectors, by its own documented way."""
    import open_clip
    import torch
    from PIL import Image

    config = json.loads((folder / "open_clip_config.json").read_text())
    if config["model_cfg"]["text_cfg"].get("hf_model_name"):
        # It would ask the hub for the text tower's configuration by name.
        config["model_cfg"]["text_cfg"]["hf_model_name"] = str(folder / "text_config")
        (folder / "open_clip_config.json").write_text(json.dumps(config))
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    with torch.inference_mode():
        texts = model.encode_text(tokenizer(TEXTS), normalize=True).numpy()
        pixels = torch.stack([transform(Image.open(BytesIO(data))) for data in proof_pictures()])
        images = model.encode_image(pixels, normalize=True).numpy()
    return {"text_encoder": texts, "image_encoder": images}


def proof_pictures() -> list[bytes]:
    """Return pictures of several shapes and modes."""
    from ingrain.export.proof.images import encoded_images

    return encoded_images()[:6]


def read_manifest(output: Path) -> Manifest:
    """Read what was published."""
    return msgspec.json.decode((output / "model" / "manifest.json").read_bytes(), type=Manifest)


def session_of(output: Path, role: str) -> Any:
    """Open the published graph of a role."""
    from onnxruntime import InferenceSession

    graph = next(graph for graph in read_manifest(output).graphs if graph.role == role)
    return InferenceSession(str(output / graph.name / graph.files[0].path), providers=["CPUExecutionProvider"])


def embed_texts(output: Path, texts: list[str], length: int | None = None) -> np.ndarray:
    """Embed as a server does: manifest, tokenizer file and graph; to unit length."""
    from ingrain.preprocess.text import TextPreprocessor
    from ingrain.preprocess.tokenized import collate

    config = read_manifest(output).text
    assert config is not None
    items = TextPreprocessor(config, output / "model").encode(texts)
    return _unit(session_of(output, "text_encoder").run(None, collate(items, config, ["input_ids"], length))[0])


def embed_pictures(output: Path, files: list[bytes] | None = None, role: str = "image_encoder") -> np.ndarray:
    """Embed pictures as a server does."""
    return _unit(run_pictures(output, proof_pictures() if files is None else files, role))


def run_pictures(output: Path, files: list[bytes], role: str) -> np.ndarray:
    """Return the output of an image graph as it is."""
    from ingrain.preprocess.image import ImagePreprocessor

    config = read_manifest(output).image
    assert config is not None
    preprocessor = ImagePreprocessor(config)
    pixels = np.stack([preprocessor.prepare(data) for data in files])
    output_rows: np.ndarray = session_of(output, role).run(None, {"pixel_values": pixels})[0]
    return output_rows


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def build_and_break(folder: Path, changes: dict[str, Any], name: str = "CLIP, ViT") -> str:
    """Build a small model, change its configuration, try to export it, and return the error."""
    from tiny_clip import build_tiny_clip

    source = folder / "models" / "model"
    build_tiny_clip(name, source)
    path = source / "open_clip_config.json"
    config = json.loads(path.read_text())
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = config
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    path.write_text(json.dumps(config))
    return export_error(folder, "open_clip")


def export_error(folder: Path, library: Library, **options: Any) -> str:
    """Try to export ``models/model``, and return the error's code and message."""
    try:
        run(folder, library, **options)
    except IngrainError as error:
        return f"{error.code}: {error.message}"
    return "published"


def export_training_checkpoint(folder: Path) -> Exported:
    """Save the weights of a small model as OpenCLIP's training does, and export it."""
    import torch
    from safetensors.torch import load_file

    from tiny_clip import build_tiny_clip

    source = build_tiny_clip("CLIPA", folder / "models" / "model")
    weights = source / "open_clip_model.safetensors"
    wrapped = {f"module.{name}": tensor for name, tensor in load_file(weights).items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": wrapped}, source / "open_clip_pytorch_model.bin")
    weights.unlink()
    manifest = run(folder, "open_clip")
    ours = {"text_encoder": embed_texts(folder / "output", TEXTS), "image_encoder": embed_pictures(folder / "output")}
    return Exported(manifest, folder / "output", ours, ask_open_clip(source))


def pickle_timm(folder: Path) -> None:
    """Have the weights of ``models/model`` as pickle alone."""
    import torch
    from safetensors.torch import load_file

    weights = folder / "models" / "model" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()


def prove_changed_graph(folder: Path, role: str) -> str:
    """Change one weight of a published graph a little, and prove it again against its source."""
    import onnx
    from onnx import numpy_helper

    from ingrain.errors import VerificationError
    from ingrain.export.families.open_clip.checkpoint import inspect_clip
    from ingrain.export.families.open_clip.source import ClipSource
    from ingrain.export.onnx.onnx_file import open_session
    from ingrain.export.proof.compare import prove
    from ingrain.export.proof.image_references import ask_image_source
    from ingrain.export.proof.text_references import ask_text_source
    from ingrain.preprocess.text import TextPreprocessor

    manifest = read_manifest(folder / "output")
    assert manifest.text is not None
    assert manifest.image is not None
    graph = next(graph for graph in manifest.graphs if graph.role == role)
    model = onnx.load(str(folder / "output" / graph.name / "1" / "model.onnx"))
    weight = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims) if tensor.dims[:1] == [32] else 0)
    values = numpy_helper.to_array(weight).copy()
    values[0] += 0.05
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, str(folder / "changed.onnx"))
    source = ClipSource(inspect_clip(folder / "models" / "model"))
    session = open_session(folder / "changed.onnx", 1)
    quiet: Any = {"tolerance": 1e-4, "report": lambda *_: None}
    try:
        if role == "image_encoder":
            prove(session, ask_image_source(source, manifest.image), **quiet)
        else:
            preprocessor = TextPreprocessor(manifest.text, folder / "output" / "model")
            references = ask_text_source(source, preprocessor, ("input_ids",), **quiet)
            prove(session, references, **quiet)
    except VerificationError as error:
        return error.message
    return "published"


def prove_changed_geometry(folder: Path) -> str:
    """Claim another filter than the source's, and compare the pixels."""
    from ingrain.errors import VerificationError
    from ingrain.export.families.image_steps import preprocess_config_from_open_clip
    from ingrain.export.families.open_clip.checkpoint import inspect_clip
    from ingrain.export.families.open_clip.source import ClipSource
    from ingrain.export.proof.image_references import ask_image_source
    from tiny_clip import build_tiny_clip

    source = ClipSource(inspect_clip(build_tiny_clip("CLIP, ViT", folder / "model")))
    config = preprocess_config_from_open_clip(source.preprocess | {"interpolation": "bilinear"})
    try:
        ask_image_source(source, config)
    except VerificationError as error:
        return error.message
    return "published"


def tokenizer_differences(name: str, folder: Path) -> tuple[int, list[str]]:
    """Compare the ids of the serving code with OpenCLIP's on thousands of texts."""
    from ingrain.export.families.open_clip.checkpoint import inspect_clip
    from ingrain.export.families.open_clip.source import ClipSource
    from ingrain.preprocess.text import TextPreprocessor
    from ingrain.preprocess.tokenized import collate
    from tiny_clip import build_tiny_clip

    source = ClipSource(inspect_clip(build_tiny_clip(name, folder / "model")))
    folder.mkdir(exist_ok=True)
    preprocessor = TextPreprocessor(source.save_tokenizer(folder), folder)
    texts = many_texts(source.special_tokens)
    different = []
    for start in range(0, len(texts), 200):
        batch = texts[start : start + 200]
        theirs = source.tokenize(batch)["input_ids"]
        ours = collate(preprocessor.encode(batch), preprocessor.config, ["input_ids"], theirs.shape[1])["input_ids"]
        assert ours.shape == theirs.shape
        different += [text for text, a, b in zip(batch, ours, theirs, strict=True) if (a != b).any()]
    return len(texts), different


def many_texts(special_tokens: list[str]) -> list[str]:
    """Return more than 5,000 texts: scripts, emoji, entities, mojibake, special tokens, very long, empty."""
    from ingrain.export.proof.texts import tokenizer_texts

    texts = tokenizer_texts(special_tokens, 77)
    seed = random.Random(7)
    parts = [
        *texts, "&amp;", "&lt;b&gt;", "&amp;lt;",
        "&nbsp;", "&#x1F600;", "&eacute;", "ï¬", "Ã©", "â€™", "_a_b_", "it'ſ", "WE'LL",
        "<START_OF_TEXT>", "!!<end_of_text>", "<end_of_text>!!", "<end_of_text><end_of_text>", "<ſtart_of_text>",
    ]  # fmt: skip
    for _ in range(2600):
        chosen = seed.choices(parts, k=seed.randint(1, 4))
        texts.append(seed.choice(["", " ", "\u3000"]).join(part[: seed.randint(1, 60)] for part in chosen))
    planes = ((32, 126), (0xA0, 0x2FF), (0x370, 0x1FFF), (0x2000, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF))
    texts += ["".join(chr(seed.randint(*seed.choice(planes))) for _ in range(seed.randint(1, 40))) for _ in range(2200)]
    return [*texts, "word " * 3000, "x" * 5000, "🙂" * 2000, ""]


def resolve_published(name: str, pretrained: str | None) -> tuple[str, str, dict[str, Any]]:
    """Return where OpenCLIP itself, not the index of its names, says that weights are."""
    from ingrain.sources import published_names
    from ingrain.sources.pretrained_weights import clip_weights

    with mock.patch.object(published_names, "is_indexed", return_value=False):
        found = clip_weights(name, pretrained)
    return found.repo_id, found.file, found.config


def resolve_timm(name: str) -> str:
    """Return where timm itself, not the index of its names, says that weights are."""
    from ingrain.sources import published_names
    from ingrain.sources.pretrained_weights import timm_repo

    with mock.patch.object(published_names, "is_indexed", return_value=False):
        return timm_repo(name)


def every_published_tag() -> list[tuple[str, str, str, str]]:
    """Return architecture, tag, repository and file of all weights that OpenCLIP has published."""
    import open_clip

    return [(name, tag, *resolve_published(name, tag)[:2]) for name, tag in open_clip.list_pretrained()]


def indexes_of_published_names() -> dict[str, str]:
    """Return the indexes that `make docs` would write, by library."""
    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "published_names.py"))
    indexes: dict[str, str] = script["indexes"]()
    return indexes


def clip_architectures() -> dict[str, Any]:
    """Return OpenCLIP's configuration of every architecture, from OpenCLIP itself."""
    import open_clip

    return {name: open_clip.get_model_config(name) for name in open_clip.list_models()}


def build_timm(architecture: str, folder: Path, **arguments: Any) -> None:
    """Build a timm folder as ``models/model``."""
    import tiny_timm

    tiny_timm.build_timm(architecture, folder / "models" / "model", **arguments)


def ask_timm(folder: Path, files: list[bytes], **arguments: Any) -> np.ndarray:
    """Return timm's own output, by its own documented way."""
    import timm
    import torch
    from PIL import Image

    model = timm.create_model(f"local-dir:{folder / 'models' / 'model'}", pretrained=True, **arguments).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    pixels = torch.stack([transform(Image.open(BytesIO(data)).convert("RGB")) for data in files])
    with torch.inference_mode():
        rows: np.ndarray = model(pixels).numpy()
    return rows


def publish_and_prove(folder: Path, library: Library, scratch: Path) -> Manifest:
    """Publish a copy of what was exported, and prove it as ``ingrain verify`` does."""
    from ingrain.repository.store import Repository

    repository = Repository(scratch / "repository")
    repository.prepare()
    with repository.staging() as staged:
        shutil.copytree(folder / "output", staged, dirs_exist_ok=True)
        repository.publish(staged)
    return run(folder, library, stored_in=str(repository.root))


def drop_weights(folder: Path, prefix: str) -> None:
    """Take the tensors whose names begin with ``prefix`` out of the weights of ``models/model``."""
    from safetensors.torch import load_file, save_file

    path = folder / "models" / "model" / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if not name.startswith(prefix)}, path)


def export_error_after(folder: Path, change: dict[str, Any]) -> str:
    """Change the configuration of the timm folder in ``models/model``, and return the error of its export."""
    path = folder / "models" / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return export_error(folder, "timm")


def build_tiny(name: str, folder: Path) -> None:
    """Build a small OpenCLIP model."""
    from tiny_clip import build_tiny_clip

    build_tiny_clip(name, folder)


def with_code_in_the_text_tower(folder: Path) -> str:
    """Let a text tower's configuration lead to code, try to export it, and return the error."""
    source = folder / "models" / "model"
    build_tiny("RoBERTa", source)
    path = source / "text_config" / "config.json"
    code = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | code))
    (source / "text_config" / "evil.py").write_text("raise SystemExit")
    return export_error(folder, "open_clip")


def rounding_of_t5() -> float:
    """Return how far a small mT5 of random weights is from itself in float64, at unit length."""
    import copy

    import torch
    from transformers import MT5Config, MT5EncoderModel

    from tiny_clip import unsettle

    torch.manual_seed(0)
    tower = MT5EncoderModel(
        MT5Config(vocab_size=300, d_model=256, d_kv=64, d_ff=512, num_layers=12, num_heads=4)
    ).eval()
    unsettle(tower)
    exact_tower = copy.deepcopy(tower).double()
    ids = torch.randint(2, 300, (3, 20))
    with torch.inference_mode():
        ours, exact = (
            torch.nn.functional.normalize(network(input_ids=ids).last_hidden_state.mean(1).double())
            for network in (tower, exact_tower)
        )
    return float((ours - exact).abs().max())


def strength_of_batch_norms(architecture: str) -> float:
    """Return the standard deviation of what a network with random weights makes of the pictures of a proof."""
    import timm
    import timm.data
    import torch
    from PIL import Image

    from ingrain.export.proof.images import encoded_images
    from tiny_clip import unsettle

    torch.manual_seed(0)
    network = timm.create_model(architecture, pretrained=False).eval()
    unsettle(network, tuple(network.pretrained_cfg["input_size"][1:]))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    pixels = [transform(Image.open(BytesIO(data)).convert("RGB")) for data in encoded_images(brief=True)]
    with torch.inference_mode():
        return float(network(torch.stack(pixels)).std())


def operators_of_rewriting(path: Path) -> tuple[list[str], list[str]]:
    """Return the operators of a graph as it is written, and as the exporter's own optimizer leaves it."""
    import onnx
    import torch

    from ingrain.export.onnx.onnx_file import Recipe, write_onnx

    class Roundabout(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            (pixels,) = tensors
            left, right = pixels[:, :4].relu().relu(), pixels[:, 4:8]
            return (left * right.sigmoid()).reshape(-1, 2, 2).transpose(1, 2).transpose(1, 2).flatten(1)

    graph, sample = Roundabout().eval(), np.ones((2, 8), np.float32)
    write_onnx(graph, {"pixels": sample}, {"embedding": ("batch",)}, path, Recipe("dynamo", None), ("batch",))
    program = torch.onnx.export(
        graph, (torch.from_numpy(sample),), dynamo=True, dynamic_shapes=(({0: "batch"},),), verbose=False
    )
    return [node.op_type for node in onnx.load(str(path)).graph.node], [node.op_type for node in program.model.graph]


def weights_after_writing(path: Path) -> list[bool]:
    """Return for each weight of a module whether it is still in memory when its graph is written and it is let go."""
    import gc
    import weakref

    import torch

    from ingrain.export.onnx.onnx_file import Recipe, write_onnx

    class Layer(torch.nn.Linear):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(64, 64)
            self.folded = torch.nn.Parameter(torch.ones(16, 64))
            self.other_tower = torch.nn.Linear(64, 64)

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return (super().forward(tensors[0]) @ self.folded.t()).relu()

    layer = Layer().eval()
    weights = [weakref.ref(weight) for weight in layer.parameters()]
    write_onnx(
        layer,
        {"pixels": np.ones((2, 64), np.float32)},
        {"embedding": ("batch",)},
        path,
        Recipe("dynamo", None),
        ("batch",),
    )
    del layer
    gc.collect()
    return [weight() is not None for weight in weights]


def initial_weights() -> dict[str, Any]:
    """Return what became of tensors that were filled inside and outside of the contexts for large networks."""
    import torch

    from fast_random import fast_random
    from ingrain.export.weights.initial_weights import repeated_random

    def drawn() -> Any:
        return torch.nn.init.trunc_normal_(torch.empty(300, 400), mean=1.0, std=1.0, a=0.5, b=3.0)

    with repeated_random():
        repeated, small = drawn(), torch.nn.init.normal_(torch.empty(64))
    fast = []
    for seed in (1, 1, 2):
        with fast_random(seed):
            fast.append(torch.nn.init.normal_(torch.empty(300, 400), mean=2.0, std=0.5).numpy())
    torch.manual_seed(0)
    plain = drawn()
    return {"repeated": repeated.numpy(), "small": small.numpy(), "fast": fast, "plain": plain.numpy()}
