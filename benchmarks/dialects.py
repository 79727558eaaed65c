"""Measures what a request costs the front end in each dialect, in turn with Ingrain's own API.

The real server runs on one core with an engine that responds at once, as in ``front_end.py``; each round asks for the
same short texts in every dialect, in another order. The ratios compare CPU time per request, and compare dialects that
write floats with the native route that does, so that the encoding of the vectors does not count. ``--texts`` puts many
texts into a request: what a gRPC call costs by itself is then shared by them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import time
from collections.abc import Callable

import grpc
from tritonclient.grpc import service_pb2 as pb

from bare import median
from front_end import Load, null_server, until_ready
from ingrain.bench.load import LoadResult, http_request
from ingrain.bench.texts import make_texts
from measure import common_options, print_report
from server import free_ports

_NATIVE = "native"
_GRPC = {"KServe gRPC": "ModelInfer", "KServe gRPC stream": "ModelStreamInfer"}
_CHANNELS = 4
Body = Callable[[str, list[str]], tuple[str, dict[str, object]]]


def _one_or_list(texts: list[str]) -> str | list[str]:
    return texts if len(texts) > 1 else texts[0]


def _to_v1(**fields: object) -> Body:
    return lambda model, texts: ("/v1/embeddings", {"model": model, "input": texts, **fields})


_DIALECTS: dict[str, Body] = {
    _NATIVE: lambda model, texts: ("/embed_text", {"name": model, "text": _one_or_list(texts)}),
    "OpenAI": lambda model, texts: ("/v1/embeddings", {"model": model, "input": _one_or_list(texts)}),
    "TEI": lambda model, texts: (f"/tei/{model}/embed", {"inputs": _one_or_list(texts)}),
    "Cohere": lambda model, texts: (
        "/v2/embed",
        {"model": model, "texts": texts, "input_type": "search_document", "embedding_types": ["float"]},
    ),
    "Ollama": lambda model, texts: ("/api/embed", {"model": model, "input": _one_or_list(texts)}),
    "Jina": lambda model, texts: (
        "/v1/embeddings",
        {"model": model, "input": [{"text": text} for text in texts]},
    ),
    "Voyage": _to_v1(input_type="document"),
    "vLLM": _to_v1(truncate_prompt_tokens=-1),
    "NIM": _to_v1(input_type="passage", truncate="END"),
    "Mixedbread": _to_v1(normalized=True, encoding_format="float"),
    "LM Studio": lambda model, texts: ("/api/v0/embeddings", {"model": model, "input": _one_or_list(texts)}),
    "Azure": lambda model, texts: (
        f"/openai/deployments/{model}/embeddings",
        {"model": model, "input": _one_or_list(texts)},
    ),
    "Infinity": lambda model, texts: ("/embeddings", {"model": model, "input": texts}),
    "KServe": lambda model, texts: (
        f"/v2/models/{model}/infer",
        {"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}]},
    ),
}


class GrpcLoad(Load):
    """Puts load on the gRPC port, over several connections; requests are messages."""

    def __init__(self, process: int, port: int, options: argparse.Namespace, method: str) -> None:
        super().__init__(process, port, options)
        self._method = f"/inference.GRPCInferenceService/{method}"
        self._is_stream = "Stream" in method

    async def _load(self, requests: list[bytes]) -> LoadResult:
        messages, result, began = itertools.cycle(requests), LoadResult(), time.perf_counter()
        target = f"{self._target.host}:{self._target.port}"
        channels = [
            grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(_CHANNELS)
        ]

        async def client(number: int) -> None:
            channel = channels[number % _CHANNELS]
            call, stream = channel.unary_unary(self._method), None
            if self._is_stream:
                stream = channel.stream_stream(self._method)()
            while (sent := time.perf_counter()) < began + self._options.seconds:
                if stream is None:
                    await call(next(messages))
                else:
                    await stream.write(next(messages))
                    await stream.read()
                result.latencies_s.append(time.perf_counter() - sent)
            if stream is not None:
                await stream.done_writing()

        used_s = time.process_time()
        await asyncio.gather(*map(client, range(self._options.clients)))
        result.seconds, result.cpu_s = time.perf_counter() - began, time.process_time() - used_s
        result.statuses = {200: len(result.latencies_s)}
        await asyncio.gather(*(channel.close() for channel in channels))
        return result


def _grpc_message(model: str, texts: list[str]) -> bytes:
    message = pb.ModelInferRequest(model_name=model)
    message.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    encoded = [text.encode() for text in texts]
    message.raw_input_contents.append(b"".join(len(text).to_bytes(4, "little") + text for text in encoded))
    return message.SerializeToString()


def _request(dialect: str, model: str, texts: list[str]) -> bytes:
    return _grpc_message(model, texts) if dialect in _GRPC else http_request(*_DIALECTS[dialect](model, texts))


def main() -> None:
    options = _options()
    texts = make_texts("query", 5_000)
    bodies = [texts[first : first + options.texts] for first in range(0, 5_000 - options.texts + 1, options.texts)]
    *ports, grpc_port = free_ports(3)
    with null_server(options, ports, grpc_port=grpc_port) as server:
        native = [http_request(*_DIALECTS[_NATIVE](options.model, body)) for body in bodies]
        asyncio.run(until_ready(ports[0], native[0]))
        loads = {
            name: GrpcLoad(server.pid, grpc_port, options, _GRPC[name])
            if name in _GRPC
            else Load(server.pid, ports[0], options)
            for name in options.dialects or [*_DIALECTS, *_GRPC]
        }
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        for number in range(options.rounds):
            random.shuffle(bodies)
            for name in random.sample(list(loads), len(loads)):
                requests = [_request(name, options.model, body) for body in bodies]
                print(f"round {number + 1}, {name}: {loads[name].run(requests)}", flush=True)
    report = {name: load.report() for name, load in loads.items()}
    for name, one in report.items():
        costs = [own / native for own, native in zip(loads[name].costs_us, loads[_NATIVE].costs_us, strict=True)]
        one["cpuToNative"] = round(median(costs), 3)
    print_report({"clients": options.clients, "textsPerRequest": options.texts, "dialects": report}, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=64, seconds=2.0)
    parser.add_argument(
        "--dialects", nargs="*", default=[], help=f"some of {', '.join([*_DIALECTS, *_GRPC])}; all by default"
    )
    parser.add_argument("--texts", type=int, default=1, help="texts a request")
    options = parser.parse_args()
    options.dialects = [_NATIVE, *(name for name in options.dialects if name != _NATIVE)] if options.dialects else []
    options.answers, options.max_batch_size, options.cache_bytes = "json", 0, 0
    return options


if __name__ == "__main__":
    main()
