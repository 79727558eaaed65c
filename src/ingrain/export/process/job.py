"""What the server and the export process say to each other: one job in, progress and one result out, as JSON lines."""

from __future__ import annotations

from typing import Literal

import msgspec

from ingrain.repository.manifest import Manifest
from ingrain.vocabulary import Library, Precision, Task


class ExportJob(msgspec.Struct, frozen=True, kw_only=True):
    """What to export, and where to.

    Attributes:
        name: What the user calls the model.
        library: The source library.
        pretrained: OpenCLIP's weight tag.
        revision: Branch, tag or commit on the hub.
        output: Empty folder for the result: ``model/`` (manifest.json and side files) and one folder a graph, named
            as in the manifest, holding ``1/model.onnx``.
        local_models_dir: Directory whose folders are models; looked up before the hub.
        custom_models_dir: The repository's folder of custom sources; looked up before everything else.
        token: Hub token.
        offline: True to use only what the hub's cache holds.
        trust_remote_code: Repositories whose Python code may be run: patterns, each alone or as ``pattern@commit``.
        code_commits: The commit by repository at which code is fetched, where it must be one that was used before.
        pickled_weights: True to read weights that are there as pickle alone, as data, where they hold only tensors.
        precision: What the graphs are to compute in.
        task: What a timm model is to do: ``embed`` leaves the head of a classifier out, ``classify`` wants one; None
            for what its weights are.
        on_gpu: True where they will run on this machine's GPU: they are proved on it, and made fast for it.
        tolerance: Largest difference to the source's vectors that is published, of graphs in float32.
        stored_in: Root of a repository whose stored graphs are proved anew; None to export.
    """

    name: str
    library: Library
    pretrained: str | None = None
    revision: str | None = None
    output: str
    local_models_dir: str | None = None
    custom_models_dir: str | None = None
    token: str | None = None
    offline: bool = False
    trust_remote_code: tuple[str, ...] = ()
    code_commits: dict[str, str] = {}
    pickled_weights: bool = True
    precision: Precision = "fp32"
    task: Task | None = None
    on_gpu: bool = False
    tolerance: float = 1e-4
    stored_in: str | None = None


Phase = Literal["download", "read", "export", "verify", "tune"]


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far a phase is: ``done`` of ``total`` in ``unit`` ("bytes", "graphs", "cases"); total 0 if unknown."""

    phase: Phase
    detail: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The job failed with one of our errors: the code of its class, its message and its other attributes."""

    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None
    facts: dict[str, object] = {}


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The output folder is complete."""

    manifest: Manifest


Event = Progress | Failed | Finished
