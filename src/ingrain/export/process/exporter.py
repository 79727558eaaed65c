"""Exports models for the registry, each in a child process, with the operator's options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ingrain.export.process.job import ExportJob
from ingrain.export.process.memory import DEFAULT_SHARE
from ingrain.export.process.runner import run_export
from ingrain.progress import Progress
from ingrain.repository.models_to_load import ModelRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """Options that all exports of a server share; ``ExportJob`` and ``run_export`` document them."""

    custom_models_dir: Path
    local_models_dir: Path | None = None
    token: str | None = None
    offline: bool = False
    trust_remote_code: tuple[str, ...] = ()
    pickled_weights: bool = True
    on_gpu: bool = False
    packs_tokens: bool = False
    extensions: tuple[str, ...] = ()
    timeout_s: float
    memory_share: float = DEFAULT_SHARE

    async def export(self, ref: ModelRef, output: Path, on_progress: Callable[[Progress], None]) -> None:
        """Fetch, convert and prove a model into an empty folder.

        Raises:
            SourceError, ExportError, MachineError: The export failed.
        """
        job = ExportJob(
            name=ref.name,
            library=ref.library,
            pretrained=ref.pretrained,
            revision=ref.revision,
            output=str(output),
            local_models_dir=str(self.local_models_dir.resolve()) if self.local_models_dir else None,
            custom_models_dir=str(self.custom_models_dir),
            token=self.token,
            offline=self.offline,
            trust_remote_code=self.trust_remote_code,
            pickled_weights=self.pickled_weights,
            precision=ref.precision or "fp32",
            task=ref.task,
            on_gpu=self.on_gpu,
            packs_tokens=self.packs_tokens,
            extensions=self.extensions,
        )
        await run_export(job, timeout_s=self.timeout_s, on_progress=on_progress, memory_share=self.memory_share)
