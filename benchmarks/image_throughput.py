"""Compares throughput for requests of one 640×480 JPEG each with Pillow and ONNX Runtime without a server, in turn.

The server gets images as base64 in JSON. The baseline reads the files in one process on the same cores, decodes,
resizes and crops as the server does, and runs the published graph. Its fastest setting of sessions, threads and batch
size is searched first, then measured in turn with the server. The ratio compares medians.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bare import best_setting
from bare_images import BareImages, Setting
from image_model import NAME
from images import photographs
from ingrain.bench.load import http_request
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.repository.image_preprocess import ImagePreprocess
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from measure import CORES, Meter, common_options, print_report
from server import Server, running_server

_WIDTH, _HEIGHT = 640, 480
_QUALITY = 85
_SMALLEST_SIDE = 300
_BATCHES = (1, 4, 8, 16)
_ROUTE = "/classify_image"


def main() -> None:
    options = _options()
    repository = Repository(options.repository.resolve())
    files = _jpegs(options.pictures)
    print(f"{len(files)} distinct JPEGs of {_WIDTH}×{_HEIGHT}, {sum(map(len, files)) / len(files) / 1024:.0f} KiB each")
    bodies = [{"name": options.model, "image": base64.b64encode(file).decode()} for file in files]
    with running_server(options.repository, options.models_dir, f"timm:{options.model}") as server:
        entry = repository.find(model_key(options.model, "timm"))
        assert entry is not None
        assert entry.manifest.image is not None
        path = repository.locate_graph(entry.manifest.graphs[0])
        _check_equality(server, bodies[:16], files[:16], path, entry.manifest.image)
        setting = _best(path, entry.manifest.image, files)
        print(f"bare is best with {setting}")
        requests = [http_request(_ROUTE, body) for body in bodies]
        meter = Meter(server, options.model, requests, clients=options.clients, seconds=options.seconds)
        rates = []
        with BareImages(path, entry.manifest.image, setting) as bare:
            bare.rate(files, 0.5)
            for number in range(options.rounds):
                served = meter.run()
                rates.append(bare.rate(files, options.seconds))
                print(f"round {number + 1}: served {served:6.1f} pictures/s, bare {rates[-1].items_per_s:6.1f}")
        report = meter.report(rates)
    report["picture"] = {"size": [_WIDTH, _HEIGHT], "meanBytes": sum(map(len, files)) // len(files)}
    report["bare"]["setting"] = str(setting)
    print_report(report, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model=NAME, clients=32)
    parser.add_argument("--pictures", type=int, default=500, help="distinct images; longer runs repeat them")
    return parser.parse_args()


def _jpegs(count: int) -> list[bytes]:
    """Cut distinct images out of photographs, encoded as cameras and web sites do."""
    chosen = random.Random(7)
    sources = list(_large_photographs())
    files: dict[bytes, None] = {}
    while len(files) < count:
        source = chosen.choice(sources)
        # Crop a 4:3 part of random size and place, with at least half the side of the largest possible crop.
        width = chosen.uniform(0.5, 1.0) * min(source.width, source.height * _WIDTH / _HEIGHT)
        height = width * _HEIGHT / _WIDTH
        left, top = chosen.uniform(0, source.width - width), chosen.uniform(0, source.height - height)
        box = (left, top, left + width, top + height)
        picture = source.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS, box)
        out = BytesIO()
        picture.save(out, "JPEG", quality=_QUALITY)
        files[out.getvalue()] = None
    return list(files)


def _large_photographs() -> Iterator[Image.Image]:
    for file in photographs().values():
        with Image.open(BytesIO(file)) as image:
            if image.mode == "RGB" and min(image.size) >= _SMALLEST_SIDE and len(file) > 50_000:
                image.load()
                yield image.copy()


def _check_equality(
    server: Server, bodies: list[dict], files: list[bytes], graph: Path, config: ImagePreprocess
) -> None:
    """Check that server and baseline give the same pixels and the same probabilities."""
    setting = Setting(sessions=1, threads=CORES, decoders=0, spinning=False, batch=len(files))
    with BareImages(graph, config, setting) as bare:
        pixels = [bare.prepare(file) for file in files]
        logits = bare.run(pixels)
    preprocessor = ImagePreprocessor(config)
    assert all((preprocessor.prepare(file) == own).all() for file, own in zip(files, pixels, strict=True))
    truth = np.exp(logits - logits.max(axis=1, keepdims=True))
    truth /= truth.sum(axis=1, keepdims=True)
    for body, row in zip(bodies, truth, strict=True):
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.inference_port}{_ROUTE}",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            served = np.array(json.load(answer)["probabilities"][0])
        assert np.abs(served - row).max() < 1e-5


def _best(graph: Path, config: ImagePreprocess, files: list[bytes]) -> Setting:
    layouts = [(CORES, 1, CORES, False), (CORES, 1, 0, False), (1, CORES, CORES, False), (1, CORES, CORES, True)]
    layouts.append((1, 1, CORES, False))

    def measure(setting: Setting) -> float:
        with BareImages(graph, config, setting) as bare:
            bare.rate(files, 0.3)
            return bare.rate(files, 1.5).items_per_s

    settings = [Setting(*layout, batch) for layout in dict.fromkeys(layouts) for batch in _BATCHES]
    return best_setting(settings, measure, "pictures/s")


if __name__ == "__main__":
    main()
