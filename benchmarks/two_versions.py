"""Compares the throughput and latency of another version of Ingrain with this one, in turn, on the embedded Triton.

``--other`` is the ``src`` folder of another checkout, which needs the packages installed here. Each round puts the same
load on both servers, one after the other, the first one alternating. The ratios compare medians.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
from pathlib import Path
from typing import get_args

from bare import median
from ingrain.bench.load import LoadResult, Target, closed_loop, http_request
from ingrain.bench.texts import Mix, make_texts
from measure import StolenTime, common_options, print_report, run_facts, run_loop
from server import Server, running_server

_THIS = Path(__file__).parents[1] / "src"


class Version:
    """One version's server, and what was measured of it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.rates: list[float] = []
        self.p50_ms: list[float] = []
        self.p99_ms: list[float] = []
        self.front_end_ms: list[float] = []

    def run(self, requests: list[bytes], clients: int, seconds: float) -> None:
        """Run one round."""
        before = self._server.cpu_s()["front end"]
        warm_up_s = 0.2 * seconds
        target = Target("127.0.0.1", self._server.inference_port)
        result: LoadResult = run_loop(closed_loop(target, requests, clients=clients, seconds=warm_up_s + seconds))
        self.rates.append(result.steady_requests_per_s(warm_up_s))
        self.p50_ms.append(result.percentile_ms(0.5))
        self.p99_ms.append(result.percentile_ms(0.99))
        self.front_end_ms.append(1e3 * (self._server.cpu_s()["front end"] - before) / len(result.latencies_s))

    def report(self) -> dict[str, float]:
        """Return the medians of all rounds."""
        return {
            "itemsPerS": round(median(self.rates), 1),
            "p50Ms": round(median(self.p50_ms), 2),
            "p99Ms": round(median(self.p99_ms), 2),
            "frontEndCpuMsPerItem": round(median(self.front_end_ms), 4),
        }


def main() -> None:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=64, rounds=9)
    parser.add_argument("--other", type=Path, required=True, help="`src` of the other checkout")
    parser.add_argument("--mix", choices=[mix for mix in get_args(Mix) if mix != "file"], default="query")
    options = parser.parse_args()
    requests = [
        http_request("/embed_text", {"name": options.model, "text": text}) for text in make_texts(options.mix, 20_000)
    ]
    stolen = StolenTime()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        versions: dict[str, Version] = {}
        for name, source in (("other", options.other), ("this", _THIS)):
            for folder in ("models", "triton") if options.repository.exists() else ():  # else each converts it
                shutil.copytree(options.repository / folder, scratch / name / folder, symlinks=True)
            server = running_server(scratch / name, options.models_dir, options.model, PYTHONPATH=str(source.resolve()))
            versions[name] = Version(stack.enter_context(server))
        for number in range(options.rounds):
            random.shuffle(requests)
            names = list(versions) if number % 2 else list(versions)[::-1]
            for name in names:
                versions[name].run(requests, options.clients, options.seconds)
            print(
                f"round {number + 1}: " + ", ".join(f"{n} {versions[n].rates[-1]:.1f}/s" for n in versions), flush=True
            )
    found = {name: version.report() for name, version in versions.items()}
    ratios = {key: round(found["this"][key] / found["other"][key], 3) for key in found["this"]}
    facts = {**run_facts(options.model), "clients": options.clients, "stolen": round(stolen.share(), 3)}
    print_report({**facts, **found, "thisToOther": ratios}, options.output)


if __name__ == "__main__":
    main()
