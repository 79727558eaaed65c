"""What the tests run in the process that has torch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ingrain.export.process.job import Event, ExportJob
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest
from ingrain.vocabulary import Precision


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        manifest: What it says.
        output: Where it is.
        exporter: The way that was proved.
        vectors: The graph's vectors of ``texts``, from the published files by the serving code.
        expected: The source's vectors of the same texts.
    """

    manifest: Manifest
    output: Path
    exporter: str
    vectors: list[np.ndarray]
    expected: np.ndarray


TEXTS = ["the river", "", "coffee in Berlin 🙂 東京 " * 4, "a much longer text about old stone houses " * 30, "x"]


def build(name: str, folder: Path) -> Path:
    """Build a family or a pipeline by its name."""
    from tiny_models import FAMILIES, build_family
    from tiny_pipelines import COMBINATIONS, PIPELINES, REFUSED

    if name in FAMILIES:
        return build_family(name, folder)
    return (PIPELINES | COMBINATIONS | REFUSED)[name](folder)


def export(name: str, folder: Path, **options: object) -> Exported:
    """Build, export, and embed with both the published graph and the source."""
    build(name, folder / "models" / "model")
    return export_built(folder, **options)


def export_manifest(folder: Path, **options: object) -> Manifest:
    """Export the model in ``models/model``, and return what was published."""
    from ingrain.export.process.worker import run_job

    return run_job(job_of(folder, **options), lambda _: None)


def export_with_floors_out_of_reach(folder: Path, precision: Precision) -> Manifest:
    """Export the model in ``models/model`` where a lower precision promises float32's vectors."""
    from ingrain.export.precision import choose as module
    from ingrain.export.proof.deviation import Floors

    floors = module.FLOORS[precision]
    module.FLOORS[precision] = Floors(mean_cosine=1.0, min_cosine=1.0, own_cosine=1.0)
    try:
        return export_manifest(folder, precision=precision)
    finally:
        module.FLOORS[precision] = floors


def export_built(folder: Path, **options: object) -> Exported:
    """Export the model in ``models/model``."""
    from ingrain.export.process.worker import run_job

    exporter = ""

    def note(event: Event) -> None:
        nonlocal exporter
        if isinstance(event, Progress) and event.phase == "export":
            exporter = event.detail

    manifest = run_job(job_of(folder, **options), note)
    stored = msgspec.json.decode((folder / "output" / "model" / "manifest.json").read_bytes(), type=Manifest)
    assert stored == manifest
    embed = open_published(folder / "output")
    vectors = [embed([text])[0] for text in TEXTS]
    return Exported(manifest, folder / "output", exporter, vectors, embed_source(folder / "models" / "model", TEXTS))


def export_with_weights_outside(name: str, folder: Path, **options: object) -> Exported:
    """Export as if the model were too large for one file."""
    from ingrain.export.onnx import onnx_file

    limit, onnx_file.EXTERNAL_DATA_BYTES = onnx_file.EXTERNAL_DATA_BYTES, 0
    try:
        return export(name, folder, **options)
    finally:
        onnx_file.EXTERNAL_DATA_BYTES = limit


def job_of(folder: Path, **options: object) -> ExportJob:
    """Return the job for the model in ``models/model``."""
    (folder / "output").mkdir(exist_ok=True)
    return ExportJob(
        name="model",
        library="sentence_transformers",
        output=str(folder / "output"),
        local_models_dir=str(folder / "models"),
        **options,  # type: ignore[arg-type]
    )


def embed_published(output: Path, texts: list[str], prompt: str | None = None) -> np.ndarray:
    """Embed as a server does: from the manifest, the tokenizer file and the graph alone."""
    return open_published(output)(texts, prompt)


def open_published(output: Path) -> Callable[..., np.ndarray]:
    """Return what embeds a batch of texts, and maybe a prompt, with the published files."""
    from onnxruntime import InferenceSession

    from ingrain.preprocess.text import TextPreprocessor
    from ingrain.preprocess.tokenized import collate

    manifest = msgspec.json.decode((output / "model" / "manifest.json").read_bytes(), type=Manifest)
    graph = manifest.graphs[0]
    assert manifest.text is not None
    text, names = manifest.text, [tensor.name for tensor in graph.inputs]
    preprocessor = TextPreprocessor(text, output / "model")
    session = InferenceSession(str(output / graph.name / graph.files[0].path), providers=["CPUExecutionProvider"])

    def embed(texts: list[str], prompt: str | None = None) -> np.ndarray:
        return session.run(["embedding"], collate(preprocessor.encode(texts, prompt=prompt), text, names))[0]

    return embed


def embed_source(folder: Path, texts: list[str]) -> np.ndarray:
    """Embed with the source library, each text alone."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    return model.float().encode(texts, batch_size=1)


def prove_changed_graph(folder: Path) -> str:
    """Change one weight of a published graph, and prove it again against its source; return what happened."""
    import onnx
    from onnx import numpy_helper

    from ingrain.errors import VerificationError
    from ingrain.export.families.sentence_transformers.text_graph import build_graph
    from ingrain.export.onnx.onnx_file import open_session
    from ingrain.export.proof.compare import prove
    from ingrain.export.proof.text_references import ask_text_source

    source, preprocessor = source_of(folder)
    references = ask_text_source(
        source, preprocessor, build_graph(source.model).inputs, tolerance=1e-4, report=lambda *_: None
    )
    path = next((folder / "output").glob("*/1/model.onnx"))
    prove(open_session(path, 1), references, tolerance=1e-4, report=lambda *_: None)
    model = onnx.load(str(path))
    weight = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims) if len(tensor.dims) == 2 else 0)
    values = numpy_helper.to_array(weight).copy()
    values[:, 0] += 0.01
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, str(folder / "changed.onnx"))
    try:
        session = open_session(folder / "changed.onnx", 1)
        prove(session, references, tolerance=1e-4, report=lambda *_: None)
    except VerificationError as error:
        return f"{error.message} {error.facts}"
    return "published"


def prove_changed_tokenizer(folder: Path) -> str:
    """Swap two words of the exported tokenizer, and compare it with its source; return what happened."""
    from ingrain.errors import VerificationError
    from ingrain.export.proof.text_references import compare_tokenizers
    from ingrain.preprocess.text import TextPreprocessor

    source, preprocessor = source_of(folder)
    path = folder / "output" / "model" / "tokenizer.json"
    tokenizer = msgspec.json.decode(path.read_bytes())
    words = tokenizer["model"]["vocab"]
    words["a"], words["x"] = words["x"], words["a"]
    path.write_bytes(msgspec.json.encode(tokenizer))
    try:
        compare_tokenizers(source, TextPreprocessor(preprocessor.config, path.parent), ["input_ids", "attention_mask"])
    except VerificationError as error:
        return error.message
    return "published"


def source_of(folder: Path):  # type: ignore[no-untyped-def]
    """Load a model's source and its exported tokenizer."""
    from ingrain.export.families.sentence_transformers.checkpoint import inspect
    from ingrain.export.families.sentence_transformers.source import SentenceTransformersSource
    from ingrain.preprocess.text import TextPreprocessor

    checkpoint = inspect(folder / "models" / "model", trust_remote_code=False)
    source = SentenceTransformersSource(checkpoint, name="model", trust_remote_code=False)
    output = folder / "output" / "model"
    output.mkdir(parents=True, exist_ok=True)
    return source, TextPreprocessor(source.save_tokenizer(output), output)


def pooling_difference(modes: tuple[str, ...], side: str, prompt_length: int) -> float:
    """Return the largest difference of our pooling to the source's on random tokens with padding."""
    import torch
    from sentence_transformers.sentence_transformer.modules import Pooling

    from ingrain.export.onnx.pooling import pool

    torch.manual_seed(0)
    tokens = torch.randn(6, 9, 5)
    lengths = torch.tensor([9, 1, 4, 8, 3, prompt_length])
    positions = torch.arange(9).expand(6, 9)
    start = torch.zeros(6, 1, dtype=torch.long) if side == "right" else (9 - lengths)[:, None]
    mask = ((positions >= start) & (positions < start + lengths[:, None])).long()
    module = Pooling(5, modes, include_prompt=prompt_length == 0)
    features = {"token_embeddings": tokens, "attention_mask": mask}
    expected = module(features | ({"prompt_length": prompt_length} if prompt_length else {}))["sentence_embedding"]
    pooling_mask = mask * (positions >= start + prompt_length).long()
    ours = pool(tokens, mask, pooling_mask, modes)
    assert torch.equal(ours.isinf(), expected.isinf())
    return float((ours - expected).nan_to_num(0, 0, 0).abs().max())
