"""What a model family is: how models of one source library are found, loaded, exported and proved.

A family is one value, ``Family``, in a module of its own, and one line in ``table.py``. Its ``open`` loads a model as a
``Source``; a source describes its towers, and ``convert.py`` makes each of them a proved graph.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ingrain.export.onnx.onnx_file import Recipe
from ingrain.export.process.job import ExportJob
from ingrain.export.process.load_errors import load_errors
from ingrain.export.proof.compare import Count, References
from ingrain.export.weights.independent_load import IndependentLoads
from ingrain.progress import Progress
from ingrain.repository.manifest import Code, ImagePreprocess, Similarity, TextPreprocess
from ingrain.vocabulary import Library, Role

if TYPE_CHECKING:
    from ingrain.sources.model_source import ResolvedSource

Report = Callable[[Progress], None]

_IMAGES_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFiles:
    """Where a library looks for weights in a folder.

    Attributes:
        names: Files and indexes of files, in the library's own order.
        wrappers: Keys under which a checkpoint of training keeps the tensors beside other things.
    """

    names: tuple[str, ...]
    wrappers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadableFolder:
    """A model's folder as its library may load it.

    Attributes:
        folder: What the library loads.
        runs_code: True where code that comes with the model will be run.
        code: That code.
    """

    folder: Path
    runs_code: bool = False
    code: tuple[Code, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to export a tower.

    Attributes:
        recipe: The exporter, and the attention that the network is switched to.
        build: Makes of the loaded model a torch module from the graph's inputs to its output; it shares the weights.
        fixed_length: True where the graph is right at the full text length only.
    """

    recipe: Recipe
    build: Callable[[Any], Any]
    fixed_length: bool = False

    def __str__(self) -> str:
        return f"{self.recipe}, full length" if self.fixed_length else str(self.recipe)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How the inputs of a model are prepared while serving.

    Attributes:
        folder: Holds the side files (the tokenizer).
        text: How texts are prepared, where the model takes text.
        image: How images are prepared, where it takes images.
    """

    folder: Path
    text: TextPreprocess | None = None
    image: ImagePreprocess | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """A part of a model that becomes one graph.

    Attributes:
        role: What the graph is in the manifest.
        label: What it takes, for progress: ``text`` or ``image``.
        title: What it is, at the beginning of a message.
        inputs: Names of the graph's inputs, in order.
        output: Name of its one output.
        candidates: Ways to export it, best first.
        ask: Has the source answer for the inputs of a proof; gets the preparation, the names of the graph's inputs,
            the tolerance, ``brief`` and a callback for progress.
        int8: True where it may be quantized to int8; beside one that may, others stay float32.
    """

    role: Role
    label: str
    title: str
    inputs: tuple[str, ...]
    output: str = "embedding"
    candidates: tuple[Candidate, ...]
    ask: Callable[[Preparation, Sequence[str], float, bool, Count], References]
    int8: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a loaded model is.

    Attributes:
        architecture: The source's own word for the network.
        towers: Its parts, text first.
        preparation: How its inputs are prepared.
        labels: Names of the classes of a classifier.
        similarity: How text and image vectors are compared.
    """

    architecture: str
    towers: tuple[Tower, ...]
    preparation: Preparation
    labels: tuple[str, ...] = ()
    similarity: Similarity | None = None


class Source(ABC):
    """A model as its source library loads it; ``release`` gives its memory back, ``load`` reads it again.

    It is loaded twice at once, and the loads are held against each other before anything is asked of it.

    Raises:
        ExportError: The library cannot load the model.
        UnsupportedModelError: Its vectors depend on what no file gives.
    """

    library: ClassVar[str]
    """The library's name in messages."""

    def __init__(self) -> None:
        self._model: Any = None
        self._loads = IndependentLoads()
        self.load()
        self.release()
        self.load()

    @property
    def model(self) -> Any:
        """The loaded model, in float32 on the CPU."""
        return self._model

    def load(self) -> None:
        """Load the model with its weights; nothing happens where it is loaded."""
        if self._model is not None:
            return
        with load_errors(self.library, "the model"), self._loads.watch() as networks:
            model = self.read_model(networks)
        self._model = model.float().eval().requires_grad_(False)
        self._loads.check(self._model, networks, self.probe)

    def release(self) -> None:
        """Let go of the weights."""
        self._model = None
        gc.collect()

    def embed_pixels(self, pixels: Any) -> Any:
        """Return what the source makes of prepared images, float32 ``[B, 3, H, W]`` to ``[B, D]``."""
        import torch

        with torch.inference_mode():
            return torch.cat(
                [self.run_image_tower(batch) for batch in torch.from_numpy(pixels).split(_IMAGES_AT_ONCE)]
            ).numpy()

    def run_image_tower(self, pixels: Any) -> Any:
        """Return the output for a batch of prepared images, as tensors; of a source that takes images."""
        raise NotImplementedError

    @abstractmethod
    def read_model(self, networks: list[Any]) -> Any:
        """Have the library build the model and fill it from its files.

        Args:
            networks: Grows by itself with every network that torch or transformers fills (``load_report.Loaded``); one
                that is filled in another way is appended here.
        """

    @abstractmethod
    def probe(self) -> list[Any]:
        """Return vectors of a few inputs of every kind that the model is served with."""

    @abstractmethod
    def describe(self, folder: Path) -> Description:
        """Write the side files of serving into a folder, and describe the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The models of one source library; nothing here imports the library.

    Attributes:
        library: Its name, which is the name of its Python package.
        weights: Where it looks for weights.
        open: Inspects and loads a folder.
        architecture_config: Returns what the configuration file of one of the library's own architectures would say,
            weights apart; None for an unknown name.
        refuse_untrusted_code: Raises where a model needs code that may not be run; its side files are enough to tell.
        prepare_folder: Lays out what the library loads, where that is not the model's folder as it is; gets the job,
            the model's files and progress.
    """

    library: Library
    weights: WeightFiles
    open: Callable[[ExportJob, Path], Source]
    architecture_config: Callable[[str], dict[str, Any] | None] | None = None
    refuse_untrusted_code: Callable[[ExportJob, ResolvedSource], None] | None = None
    prepare_folder: Callable[[ExportJob, ResolvedSource, Report], LoadableFolder] | None = None
