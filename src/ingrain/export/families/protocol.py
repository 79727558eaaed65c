"""The interface of a model family: how models of one source library are found, loaded, exported and proved.

A family is one ``Family`` value in its own module, plus one line in ``table.py``. ``Family.open`` loads a model as a
``Source``, the source describes the model's towers, and ``convert.py`` converts each tower to a proved graph.
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
from ingrain.repository.image_preprocess import ImagePreprocess
from ingrain.repository.manifest import Code, Scoring, Similarity, TextPreprocess
from ingrain.repository.token_rules import LateInteraction
from ingrain.vocabulary import InputType, Library, Role

if TYPE_CHECKING:
    from ingrain.sources.model_source import ResolvedSource

Report = Callable[[Progress], None]

_IMAGES_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFiles:
    """The weight files that a library reads from a folder.

    Attributes:
        names: Weight files and index files, in the library's order of preference.
        wrappers: Keys under which training checkpoints nest the tensors.
    """

    names: tuple[str, ...]
    wrappers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadableFolder:
    """A model's folder, ready to be loaded by its library.

    Attributes:
        folder: The folder to load.
        runs_code: True if loading runs code that comes with the model.
        code: The code that will be run.
    """

    folder: Path
    runs_code: bool = False
    code: tuple[Code, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to export a tower.

    Attributes:
        recipe: The exporter and the attention implementation.
        build: Returns a torch module that computes the graph's output from its inputs and shares the loaded model's
            weights.
        fixed_length: True if the graph is correct only for texts padded to the full length.
    """

    recipe: Recipe
    build: Callable[[Any], Any]
    fixed_length: bool = False

    def __str__(self) -> str:
        return f"{self.recipe}, full length" if self.fixed_length else str(self.recipe)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How the server prepares a model's inputs.

    Attributes:
        folder: Folder with the side files (the tokenizer).
        text: Text preprocessing; None if the model takes no texts. Of documents, if there is ``query_text``.
        query_text: Preprocessing of queries, if it differs.
        image: Image preprocessing; None if the model takes no images.
    """

    folder: Path
    text: TextPreprocess | None = None
    query_text: TextPreprocess | None = None
    image: ImagePreprocess | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerHead:
    """What a tower's graph computes besides the tower's own output.

    Attributes:
        role: Its role in the manifest.
        outputs: Names of the graph's outputs for it; each has the batch and the tokens as its leading axes.
        ask: Computes the source's outputs for the inputs of the tower's own references.
        skipped_tokens: As in ``repository.manifest.Head``.
    """

    role: Role
    outputs: tuple[str, ...]
    ask: Callable[[References], References]
    skipped_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """A part of a model that becomes one graph.

    Attributes:
        role: The graph's role in the manifest.
        label: Kind of input, for progress reports: ``text`` or ``image``.
        title: Subject of an error message about the tower.
        inputs: Names of the graph's inputs, in order.
        output: Name of the graph's output, the first one if there are heads.
        candidates: Ways to export the tower, best first.
        ask: Computes the source's outputs for a proof. Arguments: preparation, names of the graph's inputs, tolerance,
            ``brief``, progress callback.
        int8: True if the tower is quantized in an int8 model; other towers of that model stay float32.
        finish: Changes the exported file before it is proved; None to leave it as it is.
        heads: What the graph computes besides; its outputs follow the tower's, in order.
    """

    role: Role
    label: str
    title: str
    inputs: tuple[str, ...]
    output: str = "embedding"
    candidates: tuple[Candidate, ...]
    ask: Callable[[Preparation, Sequence[str], float, bool, Count], References]
    int8: bool = False
    finish: Callable[[Path], None] | None = None
    heads: tuple[TowerHead, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Description of a loaded model.

    Attributes:
        architecture: The source library's name of the network.
        towers: The towers, text first.
        preparation: How the server prepares the inputs.
        labels: Class names of a classifier.
        similarity: How text and image vectors are compared.
        scoring: How the logits of a text scorer become scores.
        default_input_type: Encoder for a text of unknown kind, if the model has one for queries and one for documents;
            None if the kind must be given.
        has_token_dimensions: True if the dimensions of sparse vectors are the tokens of the tokenizer.
        late_interaction: How a late-interaction model scores a document for a query.
    """

    architecture: str
    towers: tuple[Tower, ...]
    preparation: Preparation
    labels: tuple[str, ...] = ()
    similarity: Similarity | None = None
    scoring: Scoring | None = None
    default_input_type: InputType | None = None
    has_token_dimensions: bool = False
    late_interaction: LateInteraction | None = None


class Source(ABC):
    """A model loaded by its source library; ``release`` frees the weights, ``load`` reads them again.

    The constructor loads the model twice and compares the two loads.

    Raises:
        ExportError: The library cannot load the model.
        UnsupportedModelError: The vectors depend on values that are in none of the model's files.
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
        """Load the model with its weights, unless it is loaded already."""
        if self._model is not None:
            return
        with load_errors(self.library, "the model"), self._loads.watch() as networks:
            model = self.read_model(networks)
        self._model = model.float().eval().requires_grad_(False)
        self._loads.check(self._model, networks, self.probe)

    def release(self) -> None:
        """Free the weights."""
        self._model = None
        gc.collect()

    def embed_pixels(self, pixels: Any) -> Any:
        """Compute the image tower's output for prepared images: float32 ``[B, 3, H, W]`` to ``[B, D]``."""
        import torch

        with torch.inference_mode():
            return torch.cat(
                [self.run_image_tower(batch) for batch in torch.from_numpy(pixels).split(_IMAGES_AT_ONCE)]
            ).numpy()

    def run_image_tower(self, pixels: Any) -> Any:
        """Compute the output for a batch of prepared images, as tensors. A source with an image tower overrides it."""
        raise NotImplementedError(f"{type(self).__name__} has no image tower")

    @abstractmethod
    def read_model(self, networks: list[Any]) -> Any:
        """Load the model with the library.

        Args:
            networks: List of ``load_report.Loaded``. Networks that torch or transformers fill are recorded
                automatically; append any network that is filled in another way.
        """

    @abstractmethod
    def probe(self) -> list[Any]:
        """Return vectors of a few inputs of every kind that the model accepts."""

    @abstractmethod
    def describe(self, folder: Path) -> Description:
        """Write the side files that the server needs into a folder, and describe the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The models of one source library. Creating a family does not import the library.

    Attributes:
        library: The library's name, which is also the name of its Python package.
        weights: The weight files that the library reads.
        open: Checks and loads a folder.
        architecture_config: Returns the contents of the configuration file for one of the library's architectures; None
            for an unknown name.
        refuse_untrusted_code: Raises if a model needs code that may not be run. Reads the side files only.
        prepare_folder: Returns the folder that the library loads; None if that is the model's own. Arguments: job,
            resolved source, progress callback.
    """

    library: Library
    weights: WeightFiles
    open: Callable[[ExportJob, Path], Source]
    architecture_config: Callable[[str], dict[str, Any] | None] | None = None
    refuse_untrusted_code: Callable[[ExportJob, ResolvedSource], None] | None = None
    prepare_folder: Callable[[ExportJob, ResolvedSource, Report], LoadableFolder] | None = None
