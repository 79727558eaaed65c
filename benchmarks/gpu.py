"""Measures the server on an NVIDIA GPU beside bare ONNX Runtime on the same card, in at most seven minutes.

It needs no network: ``--wheels`` names a folder that ``gpu_wheels.py`` has filled, and ``--repository`` one with the
published models (``make bench`` makes it in ``.run``). Every part has a limit of its own and is skipped, with the
reason, when the time is too short for it. The report is written again after every part. ``--device cpu`` runs the same
code with tiny sizes on a machine without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import site
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_wheels

_HERE = Path(__file__).resolve().parent
_SHUTDOWN_S = 15.0

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        seconds: Duration of one measurement.
        warm_up_s: Duration of the load before it.
        clients: Clients with one short text a request.
        workers: Front-end processes.
        batches: Batch sizes of the bare graph.
        bulk_clients: Clients that send many texts a request.
        bulk_texts: Texts a request.
        image_clients: Clients with one image a request.
        generators: Processes of the load generator.
        texts: Distinct texts.
        needs_s: Seconds that a part with a server needs; it is skipped if less is left.
    """

    seconds: float
    warm_up_s: float
    clients: tuple[int, ...]
    workers: tuple[int, ...]
    batches: tuple[int, ...]
    bulk_clients: int
    bulk_texts: int
    image_clients: int
    generators: int
    texts: int
    needs_s: float


SIZES = {
    "cuda": Sizes(4.0, 2.0, (64, 512), (1, 4, 8), (64, 256, 1024), 16, 256, 64, 4, 50_000, 30.0),
    "cpu": Sizes(0.7, 0.3, (2, 4), (1, 2), (4, 8), 2, 16, 2, 2, 400, 5.0),
}


class TimeUpError(Exception):
    """A part has reached its limit."""


class Report:
    """Rows of the table, written to a file after every part.

    Args:
        facts: Facts about the machine.
        budget_s: Seconds for everything.
        output: File of the report.
    """

    def __init__(self, facts: Row, budget_s: float, output: Path) -> None:
        self.rows: list[Row] = []
        self._facts = facts
        self._until = time.monotonic() + budget_s
        self._output = output

    def part(self, name: str, run: Callable[[], list[Row]], *, needs_s: float) -> list[Row]:
        """Run a part and record its rows; if it cannot run or fails, record the reason."""
        left = self._until - time.monotonic() - _SHUTDOWN_S
        if left < needs_s:
            rows = [{"part": name, "skipped": f"{max(0.0, left):.0f} s are left, and it needs {needs_s:.0f}"}]
        else:
            began = time.monotonic()
            try:
                with _limited(left):
                    rows = run()
            except TimeUpError:
                rows = [{"part": name, "skipped": f"it did not finish in {left:.0f} s"}]
            except (Exception, SystemExit) as error:  # the other parts are still of use
                rows = [{"part": name, "skipped": f"{type(error).__name__}: {error}"[:300]}]
            rows[-1]["tookS"] = round(time.monotonic() - began, 1)
        self.rows += rows
        for row in rows:
            print(as_line(row), flush=True)
        self._output.write_text(json.dumps({**self._facts, "rows": self.rows}, indent=2) + "\n")
        return rows


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeUpError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def as_line(row: Row) -> str:
    """Return a row of the table."""
    if "skipped" in row:
        return f"{row['part']:46} skipped: {row['skipped']}"
    busy = row.get("gpuBusy")
    text = f"{row['part']:46} {row['itemsPerS']:>10,.0f}/s"
    text += f"  p50 {row['p50Ms']:7.1f} ms" if "p50Ms" in row else " " * 16
    text += f"  GPU {100 * busy:3.0f} %" if busy is not None else "  GPU   - "
    text += f"  {row['ratioToBare']:.2f} of bare" if "ratioToBare" in row else ""
    return text + (f"  goal: {row['goal']}" if "goal" in row else "")


def main() -> None:
    began = time.monotonic()
    options = _options()
    if options.wheels is not None:
        _install_and_run_again(options)
    import gpu_parts  # needs the installed packages

    sizes = SIZES[options.device]
    report = Report(gpu_parts.facts(options), options.budget_s - options.spent_s, options.output)
    gpu_parts.run_all(report, options, sizes)
    print(f"{time.monotonic() - began + options.spent_s:.0f} s in all; the report is {options.output}")


def _install_and_run_again(options: argparse.Namespace) -> None:
    """Install the wheels into an environment of their own, and run this script in it."""
    began = time.monotonic()
    gpu_wheels.join(options.wheels)
    python = options.environment.resolve() / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--clear", options.environment], check=True)
    wheels = sorted(map(str, options.wheels.glob("*.whl")))
    install = [python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir"]
    subprocess.run([*install, *wheels], check=True)
    spent = options.spent_s + time.monotonic() - began
    print(f"{len(wheels)} wheels installed in {spent:.0f} s", flush=True)
    arguments = [f"--device={options.device}", f"--budget-s={options.budget_s}", f"--spent-s={spent:.1f}"]
    arguments += [f"--repository={options.repository}", f"--output={options.output}", f"--scratch={options.scratch}"]
    libraries = [os.environ.get("LD_LIBRARY_PATH", ""), *_cuda_of_this_python()]
    paths = [_HERE.parent / "src", _HERE, _HERE.parent / "tools"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
    }
    os.execve(python, [str(python), str(_HERE / "gpu.py"), *arguments], environment)


def _cuda_of_this_python() -> list[str]:
    """Return the folders of CUDA's and cuDNN's libraries that PyTorch has brought, if it has."""
    files = (file for folder in site.getsitepackages() for file in Path(folder).glob("nvidia/**/lib/*.so*"))
    return sorted({str(file.parent) for file in files})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=list(SIZES), default="cuda")
    parser.add_argument("--wheels", type=Path, help="install these into an environment of their own first")
    parser.add_argument("--environment", type=Path, default=Path(".run/gpu/environment"))
    parser.add_argument("--repository", type=Path, default=Path(".run/repository"))
    parser.add_argument("--scratch", type=Path, default=Path(".run/gpu/graphs"), help="folder for variants of graphs")
    parser.add_argument("--output", type=Path, default=Path("gpu.json"))
    parser.add_argument("--budget-s", type=float, default=420.0)
    parser.add_argument("--spent-s", type=float, default=0.0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
