"""Run inside a network namespace of its own: serve a bundle offline, and print what a client gets."""

import fcntl
import json
import socket
import struct
import sys
from pathlib import Path

import httpx

from processes import serve

_SIOCSIFFLAGS, _UP = 0x8914, 1


def main() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP))
    interfaces = [name for _, name in socket.if_nameindex()]
    with serve(Path(sys.argv[1]), f"--bundle={sys.argv[2]}", "--offline", "--engine=onnxruntime") as server:
        server.wait_until_ready()
        embedded = server.embed(["A cat sleeps.", "A kitten naps."])
        unknown = server.load("org/unknown")
        custom = httpx.post(
            f"{server.model}/download_custom_model",
            json={
                "name": "x",
                "library": "timm",
                "safetensorsUrl": "https://example.com/a",
                "configJsonUrl": "https://example.com/b",
            },
            timeout=60,
        )
    answers = {"embedded": embedded, "unknown": unknown, "custom": custom}
    told = {name: [answer.status_code, answer.json()] for name, answer in answers.items()}
    print(json.dumps({"interfaces": interfaces, **told}))


if __name__ == "__main__":
    main()
