"""Both planes in this process: the real application, registry, repository and queues on the fake engine."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from ingrain.app.limits import http_limits
from ingrain.app.listen import open_socket
from ingrain.app.model_memory import memory_policy
from ingrain.app.placement import placement_of
from ingrain.app.services import image_input, model_services
from ingrain.app.tables import load_tables
from ingrain.batching.row_cache import RowCache
from ingrain.errors import IngrainError
from ingrain.models.loaded import open_model
from ingrain.models.queues import QueueLimits
from ingrain.preprocess.image_input import ImageInput
from ingrain.progress import Progress
from ingrain.registry.registry import Registry
from ingrain.repository.checksums import describe_file
from ingrain.repository.execution_policy import Backend, ExecutionPolicy
from ingrain.repository.graph_folder import GraphFolders
from ingrain.repository.image_preprocess import CenterCrop, ImagePreprocess, Resize, ToRgb
from ingrain.repository.manifest import Calibration, Graph, Head, Manifest, Scoring, Similarity, Tensor, TextPreprocess
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.names import graph_name, model_key
from ingrain.repository.store import Repository
from ingrain.repository.tuning import Execution, Layout, Machine
from ingrain.server.console.pages import console_pages
from ingrain.server.http.application import Application
from ingrain.server.http.body_budget import BodyBudget
from ingrain.server.http.interfaces import HttpLimits
from ingrain.server.http.server import HttpServer
from ingrain.server.plane.application import PlaneApplication
from ingrain.server.plane.services import ModelServices
from ingrain.settings import Settings
from ingrain.testing.fake_engine import FakeEngine
from ingrain.tuning.machine import TuningMachine
from ingrain.vocabulary import Role

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "blue", "poison", "broken", *(f"w{n}" for n in range(100))]
WIDTH = 8
MAX_TOKENS = 32
LABELS = ("cat", "dog", "bird")
IMAGE = ImagePreprocess(
    size=(16, 16),
    steps=(Resize((16, 16), "shortest", "bicubic"), CenterCrop((16, 16)), ToRgb()),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
HEADS = (
    Head("sparse_encoder", (Tensor("values", "FP32", (-1, -1)), Tensor("indices", "INT32", (-1, -1)))),
    Head("multi_vector_encoder", (Tensor("token_embeddings", "FP32", (-1, -1, WIDTH)),), skipped_tokens=1),
)
POISON_ID = WORDS.index("poison")
NAN_ID = WORDS.index("broken")


def write_tokenizer(path: Path) -> None:
    """Write a tokenizer of whole words with BERT's special tokens."""
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", [("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.save(str(path))


def ids_of(text: str) -> list[int]:
    """Return a text's ids as the tokenizer above gives them."""
    known = {word: n for n, word in enumerate(WORDS)}
    return [2, *[known.get(word, 1) for word in text.split()][: MAX_TOKENS - 2], 3]


TEXT = TextPreprocess(max_tokens=MAX_TOKENS)


def stage_model(folder: Path, ref: ModelRef, text: TextPreprocess = TEXT, sample: np.ndarray | None = None) -> None:
    """Write what an export leaves; the fake engine never reads the graphs.

    A sentence-transformers model takes text (one called bge-m3 has three outputs), an OpenCLIP one text and images, a
    timm one classifies images, or embeds them where that is its task. With the task ``rerank`` or ``classify``, a
    sentence-transformers model scores texts and pairs: with one logit, or with ``LABELS``. ``sample`` are the vectors
    of a calibration sample.
    """
    key = model_key(ref.name, ref.library, ref.pretrained)
    timm: Role = "image_encoder" if ref.task == "embed" else "classifier"
    task = "rerank" if ref.name.startswith("cross-encoder/") else ref.task
    others: dict[str | None, Role] = {"embed_sparse": "sparse_encoder", "embed_tokens": "token_encoder"}
    of_texts: Role = others.get(task, "text_encoder")
    text_role: Role = "text_scorer" if task in ("rerank", "classify") else of_texts
    labels = LABELS if task != "rerank" else ("LABEL_0",)
    roles = {"sentence_transformers": [text_role], "open_clip": ["text_encoder", "image_encoder"], "timm": [timm]}
    graphs = tuple(_stage_graph(folder, key, role, labels) for role in roles[ref.library])
    if ref.name.endswith("bge-m3"):
        graphs = (msgspec.structs.replace(graphs[0], heads=HEADS),)
    of_scores = Scoring(activation="sigmoid" if task == "rerank" else "identity")
    (folder / "model").mkdir()
    takes_text, takes_images = ref.library != "timm", ref.library != "sentence_transformers"
    if takes_text:
        write_tokenizer(folder / "model" / "tokenizer.json")
    if sample is not None:
        np.save(folder / "model" / "calibration.npy", sample)
    manifest = Manifest(
        name=ref.name,
        library=ref.library,
        pretrained=ref.pretrained,
        revision=ref.revision,
        precision=ref.precision or "fp32",
        architecture="Fake",
        created_at="2026-11-22T00:00:00Z",
        versions={},
        embedding_size=WIDTH,
        has_token_dimensions="sparse_encoder" in graphs[0].roles,
        graphs=graphs,
        text=text if takes_text else None,
        image=IMAGE if takes_images else None,
        labels=labels if graphs[0].role in ("classifier", "text_scorer") else (),
        scoring=of_scores if graphs[0].role == "text_scorer" else None,
        similarity=Similarity(scale=10.0) if ref.library == "open_clip" else None,
        files=tuple(describe_file(folder / "model", path.name) for path in (folder / "model").iterdir()),
        calibration=None if sample is None else Calibration(sample="test", texts=len(sample)),
    )
    (folder / "model" / "manifest.json").write_bytes(msgspec.json.encode(manifest))


def _stage_graph(folder: Path, key: str, role: Role, labels: tuple[str, ...]) -> Graph:
    name = graph_name(key, role)
    (folder / name / "1").mkdir(parents=True)
    (folder / name / "1" / "model.onnx").write_bytes(b"graph " + name.encode())
    if role in ("text_encoder", "text_scorer", "sparse_encoder", "token_encoder"):
        inputs = [Tensor(name=tensor, dtype="INT64", shape=(-1, -1)) for tensor in ("input_ids", "attention_mask")]
    else:
        inputs = [Tensor(name="pixel_values", dtype="UINT8", shape=(-1, *IMAGE.size, 3))]
    if role == "sparse_encoder":
        outputs = [Tensor(name="values", dtype="FP32", shape=(-1, -1)), Tensor("indices", "INT32", (-1, -1))]
        return Graph(name, role, tuple(inputs), tuple(outputs), (describe_file(folder / name, "1/model.onnx"),))
    is_classifier = role in ("classifier", "text_scorer")
    output, width = ("logits", len(labels)) if is_classifier else ("embedding", WIDTH)
    return Graph(
        name=name,
        role=role,
        inputs=tuple(inputs),
        outputs=(Tensor(name=output, dtype="FP32", shape=(-1, -1, width) if role == "token_encoder" else (-1, width)),),
        files=(describe_file(folder / name, "1/model.onnx"),),
    )


@dataclass
class FakeExport:
    """Stands where the export process does; ``hold`` delays it, ``error`` fails it.

    ``text`` and ``sample`` are those of the models that it makes.
    """

    runs: list[ModelRef] = field(default_factory=list)
    hold: asyncio.Event | None = None
    error: IngrainError | None = None
    text: TextPreprocess = TEXT
    sample: np.ndarray | None = None

    async def __call__(self, ref: ModelRef, folder: Path, on_progress) -> None:
        self.runs.append(ref)
        on_progress(Progress(phase="export", done=1, total=4, unit="graphs"))
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        stage_model(folder, ref, self.text, self.sample)


@dataclass
class StoredExport:
    """Stands where the export process does, and leaves a copy of what one has left."""

    output: Path

    async def __call__(self, ref: ModelRef, folder: Path, on_progress) -> None:
        shutil.copytree(self.output, folder, dirs_exist_ok=True)


@dataclass
class Planes:
    """Two HTTP clients, and what is behind them."""

    inference: httpx.AsyncClient
    model: httpx.AsyncClient
    services: ModelServices
    engine: FakeEngine
    export: FakeExport

    @property
    def openai_url(self) -> str:
        return f"{str(self.inference.base_url).rstrip('/')}/v1"

    async def load(
        self, name: str = "org/model", library: str = "sentence_transformers", key: str | None = None
    ) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        answer = await self.model.post("/load_model", json={"name": name, "library": library}, headers=headers)
        assert answer.status_code == 200, answer.text

    async def embed(self, text, name: str = "org/model", **fields) -> httpx.Response:
        return await self.inference.post("/embed_text", json={"name": name, "text": text, **fields})


def make_images(settings: Settings) -> ImageInput:
    """Make the input of pictures as the server does."""
    return image_input(settings)


def make_place(
    *, given: Mapping[str, int] | None = None, cores: int = 2, free: int | None = None, copies: int = 2
) -> TuningMachine:
    """Make what a server knows of its machine, by default two cores and an engine of two copies; ``free`` in bytes."""
    return TuningMachine(
        machine=Machine(engine="fake", instance_kind="KIND_CPU", cores=cores),
        default=Execution(layout=Layout(copies, 1), max_items=32, max_tokens=4096, overhead_tokens=8),
        given=given or {},
        most_items=64,
        sweeps_layouts=True,
        free_bytes=lambda: free,
    )


def hold_layout(engine: FakeEngine, layout: Layout) -> asyncio.Event:
    """Have the engine wait with loading graphs in this layout until the event is set."""
    gate, load = asyncio.Event(), engine.load

    async def held(graph: Graph, wanted: Layout | None = None) -> None:
        if wanted == layout:
            await gate.wait()
        await load(graph, wanted)

    engine.load = held
    return gate


def make_registry(
    root: Path,
    engine: FakeEngine,
    export: FakeExport,
    *,
    images: ImageInput | None = None,
    queue_limits: QueueLimits = QueueLimits(),  # noqa: B008 - frozen
    place: TuningMachine | None = None,
    backend: Backend | None = None,
    policy: ExecutionPolicy = ExecutionPolicy(),  # noqa: B008 - frozen
    repository: Repository | None = None,
    **changes,
) -> Registry:
    """Make a registry on a prepared repository; without a backend it writes no configurations."""
    images = images or make_images(Settings())
    repository = repository or Repository(root)
    repository.prepare()
    return Registry(
        repository=repository,
        engine=engine,
        export=export,
        folders=GraphFolders(folder_of=repository.graph_folder, backend=backend, policy=policy),
        open_model=lambda entry: open_model(entry, engine, queue_limits, images.preprocessor),
        place=place or make_place(copies=engine.instances),
        **changes,
    )


@asynccontextmanager
async def running_planes(
    root: Path, settings: Settings | None = None, models=(), engine=None, export=None
) -> AsyncIterator[Planes]:
    """Run both planes on a repository below ``root``; without an engine and an export they are fakes."""
    settings = settings or Settings()
    export, images = export or FakeExport(), make_images(settings)
    if engine is None:
        engine = FakeEngine(instances=2)
        engine.poison_id, engine.nan_id = POISON_ID, NAN_ID
    row_cache = RowCache(settings.cache_bytes) if settings.cache_bytes else None
    placement = placement_of(settings)
    registry = make_registry(
        root,
        engine,
        export,
        place=make_place(),
        clock=(lambda: engine.computed_s) if isinstance(engine, FakeEngine) else time.monotonic,
        images=images,
        queue_limits=QueueLimits(max_queue_tokens=settings.max_queue_tokens, row_cache=row_cache),
        max_loaded_models=settings.max_loaded_models,
        default_precision=settings.precision,
        memory=memory_policy(settings, placement),
    )
    services = model_services(settings, placement, engine=engine, registry=registry, images=images, row_cache=row_cache)
    await engine.start()
    await registry.start(models)
    limits, dialects = http_limits(settings), load_tables(settings.extensions, settings.dialects).dialects
    console = console_pages(inference_port=8686, needs_key=not services.keys.is_open) if settings.console else None
    try:
        async with (
            serving(PlaneApplication("inference", services, dialects), limits, services.bodies) as inference_url,
            serving(PlaneApplication("model", services, dialects, console), limits, services.bodies) as model_url,
            httpx.AsyncClient(base_url=inference_url, timeout=30) as inference,
            httpx.AsyncClient(base_url=model_url, timeout=30) as model,
        ):
            yield Planes(inference, model, services, engine, export)
    finally:
        await registry.close()
        await engine.close()
        await images.aclose()
        await services.downloads.aclose()


@asynccontextmanager
async def serving(app: Application, limits: HttpLimits, bodies: BodyBudget) -> AsyncIterator[str]:
    """Serve an application on a free port of the loopback, and yield its URL."""
    server, listener = HttpServer(app, limits, bodies), open_socket("127.0.0.1", 0, "a test's port")
    await server.start(listener)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await server.stop(1.0)
