"""The messages between server and export process, sent as JSON lines: a job, progress, and one result."""

from __future__ import annotations

import msgspec

from ingrain.errors import ExportError, IngrainError, error_class
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest
from ingrain.sources.model_source import SourceSpec
from ingrain.vocabulary import Precision, Task


class ExportJob(SourceSpec, frozen=True, kw_only=True):
    """What to export, and where to.

    The output folder receives ``model/`` (manifest.json and side files) and, for each graph, a folder named as in the
    manifest with ``1/model.onnx``.

    Attributes:
        code_commits: Commits at which to fetch custom code, by repository, for models that used that code before.
        precision: Precision of the graphs.
        task: What the model is for; None: found out from its files and weights. Of a timm model, ``embed`` removes
            the classifier layer and ``classify`` requires one.
        on_gpu: True: the graphs will run on this machine's GPU, and are proved on it and optimized for it.
        packs_tokens: True: float32 text encoders run most operators on real tokens only, where that is proved. For
            graphs that will run on a CPU.
        tolerance: Largest allowed difference of float32 graphs to the source's vectors.
        stored_in: Root of a repository whose stored graphs are proved again; None: export.
        extensions: Extension modules whose ``FAMILIES`` are added to the table of model families.
    """

    code_commits: dict[str, str] = msgspec.field(default_factory=dict)
    precision: Precision = "fp32"
    task: Task | None = None
    on_gpu: bool = False
    packs_tokens: bool = False
    tolerance: float = 1e-4
    stored_in: str | None = None
    extensions: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The job failed with an ``IngrainError``: the code of its class, and its attributes."""

    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None
    facts: dict[str, object] = {}

    @staticmethod
    def of(error: IngrainError) -> Failed:
        """Describe an error."""
        return Failed(error.code, error.message, error.param, error.retry_after_s, error.facts)

    def to_error(self) -> IngrainError:
        """Return the error, as an instance of the class with this code."""
        kind = error_class(self.code) or ExportError
        return kind(self.message, param=self.param, retry_after_s=self.retry_after_s, facts=self.facts)


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The output folder is complete."""

    manifest: Manifest


Event = Progress | Failed | Finished
