"""The messages between server and export process, as JSON lines: a job, progress, and one result."""

from __future__ import annotations

import msgspec

from ingrain.errors import ExportError, IngrainError, error_class
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest
from ingrain.sources.model_source import SourceSpec
from ingrain.vocabulary import Precision, Task


class ExportJob(SourceSpec, frozen=True, kw_only=True):
    """What to export, and where to.

    The output folder receives ``model/`` (manifest.json and side files) and one folder a graph, named as in the
    manifest, holding ``1/model.onnx``.

    Attributes:
        code_commits: The commit by repository at which code is fetched, where it must be one that was used before.
        precision: What the graphs are to compute in.
        task: What a timm model is to do: ``embed`` leaves the head of a classifier out, ``classify`` wants one; None
            for what its weights are.
        on_gpu: True where they will run on this machine's GPU: they are proved on it, and made fast for it.
        tolerance: Largest difference to the source's vectors that is published, of graphs in float32.
        stored_in: Root of a repository whose stored graphs are proved anew; None to export.
        extensions: Modules from outside whose ``FAMILIES`` join the table of model families.
    """

    code_commits: dict[str, str] = msgspec.field(default_factory=dict)
    precision: Precision = "fp32"
    task: Task | None = None
    on_gpu: bool = False
    tolerance: float = 1e-4
    stored_in: str | None = None
    extensions: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The job failed with one of our errors: the code of its class, its message and its other attributes."""

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
        """Return the error that was described, as the class with its code."""
        kind = error_class(self.code) or ExportError
        return kind(self.message, param=self.param, retry_after_s=self.retry_after_s, facts=self.facts)


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The output folder is complete."""

    manifest: Manifest


Event = Progress | Failed | Finished
