"""Progress of a load, from the download of a model's files to its tuning."""

from __future__ import annotations

from typing import Literal

import msgspec

Phase = Literal["download", "read", "export", "verify", "tune"]


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Progress of a phase: ``done`` of ``total`` in ``unit`` ("bytes", "graphs", "cases"); total 0 if unknown."""

    phase: Phase
    detail: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
