"""What the server adds to one short text: a lone client's p50 less bare ONNX Runtime's time on all cores, in turn.

Both engines of this machine are measured, each by a server of its own: the embedded Triton, and ONNX Runtime in the
server's process. The yardstick runs the same tokenized texts one at a time in a session of as many threads as there are
cores, threads that sleep while they wait or spin, whichever is faster.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from bare import BareGraph, TextSetting, median, tokenize
from ingrain.bench.load import LoadResult, Target, closed_loop, http_request
from ingrain.bench.texts import make_texts
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from measure import CORES, about, common_options, run_loop, statuses, tell
from server import Server, running_server
from yardstick_model import NAME

_ENGINES = {"embedded": 2.0, "onnxruntime": 1.0}  # milliseconds that it may add
_WARM_UP_S = 1.0
_PAUSE_S = 0.05


def main() -> None:
    parser = common_options(__doc__, model=NAME, clients=1, seconds=1.0, rounds=15)
    parser.add_argument("--engines", nargs="+", choices=list(_ENGINES), default=list(_ENGINES))
    options = parser.parse_args()
    repository = Repository(options.repository.resolve())
    texts = make_texts("query", 20_000)
    requests = [http_request("/embed_text", {"name": options.model, "text": text}) for text in texts]
    report: dict[str, Any] = {**about(options.model), "clients": options.clients, "engines": {}}
    for engine in options.engines:
        with running_server(options.repository, options.models_dir, options.model, INGRAIN_ENGINE=engine) as server:
            entry = repository.find(model_key(options.model, "sentence_transformers"))
            assert entry is not None
            items = tokenize(entry, texts)
            graphs = {
                f"1 session × {CORES} threads{', spinning' if spinning else ''}": BareGraph(
                    entry, repository, TextSetting(1, CORES, 1), items, spinning=spinning
                )
                for spinning in (False, True)
            }
            one = _compare(server, graphs, requests, options.clients, options.rounds, options.seconds)
        report["engines"][engine] = {**one, "targetMs": _ENGINES[engine]}
        print(f"{engine}: {one['p50Ms']:.2f} ms, bare {one['bareP50Ms']:.2f} ms, adds {one['addedMs']:.2f} ms")
    tell(report, options.output)


def _compare(
    server: Server,
    graphs: dict[str, BareGraph],
    requests: Sequence[bytes],
    clients: int,
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    """Measure server and yardstick in turn; a round gives one p50 of each, and medians of these are compared."""
    target = Target("127.0.0.1", server.inference_port)
    results: list[LoadResult] = []
    bare: dict[str, list[float]] = {name: [] for name in graphs}
    run_loop(closed_loop(target, requests, clients=clients, seconds=_WARM_UP_S))
    for graph in graphs.values():
        graph.latencies_s(_WARM_UP_S)
    before = server.cpu_s()
    for _ in range(rounds):
        results.append(run_loop(closed_loop(target, requests, clients=clients, seconds=seconds)))
        for name, graph in graphs.items():
            bare[name].append(1e3 * median(graph.latencies_s(seconds)))
            time.sleep(_PAUSE_S)  # spinning threads have gone to sleep when the next one starts
    used = {part: after - before[part] for part, after in server.cpu_s().items()}
    answers = sum(len(result.latencies_s) for result in results)
    best = min(bare, key=lambda name: median(bare[name]))
    served = [result.percentile_ms(0.5) for result in results]
    return {
        "p50Ms": round(median(served), 3),
        "p99Ms": round(median([result.percentile_ms(0.99) for result in results]), 3),
        "bareP50Ms": round(median(bare[best]), 3),
        "bareSetting": best,
        "addedMs": round(median(served) - median(bare[best]), 3),
        "addedMsLeastByRound": round(min(a - b for a, b in zip(served, bare[best], strict=True)), 3),
        "cpuMsPerRequest": {part: round(1e3 * seconds_ / answers, 3) for part, seconds_ in used.items()},
        "loadGeneratorCpuMsPerRequest": round(1e3 * sum(result.cpu_s for result in results) / answers, 3),
        "statuses": statuses(results),
    }


if __name__ == "__main__":
    main()
