"""With INGRAIN_LOG_FORMAT=json all that a server prints is JSON, one object a line, from the first byte to the last."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from ingrain.app.log_output import write_all

NOISY = """
import os, subprocess, sys, threading, warnings
print("a plain line")
os.write(2, b"past Python \\xff\\n")
warnings.warn("an old way", stacklevel=1)
subprocess.run([sys.executable, "-c", "print('of a child')"])
os.write(2, b"without end " * 250_000 + b"\\n")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
ROUTES = ()
"""
BROKEN = "raise RuntimeError('a library\\nis broken')"


def serve(tmp_path, *arguments, code="ROUTES = ()"):
    """Start a server with an extension, and end it when it is ready; return its exit code and the lines of its log."""
    (tmp_path / "loud.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "ingrain", "serve", "--engine", "onnxruntime", "--extensions", "loud"]
    command += ["--inference-port", "0", "--model-port", "0", "--repository", str(tmp_path / "repository"), *arguments]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"INGRAIN_LOG_FORMAT": "json", "PYTHONPATH": path}
    lines = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            for line in process.stderr:
                lines.append(json.loads(line))
                if "is ready" in lines[-1]["message"]:
                    process.send_signal(signal.SIGTERM)
            assert process.stdout.read() == b""
        except BaseException:
            process.kill()  # or leaving the block would wait for a server that nobody stops
            raise
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    return process.returncode, lines


def test_a_noisy_server_logs_json_alone(tmp_path):
    code, lines = serve(tmp_path, code=NOISY)
    assert code == 0
    told = {line["message"]: line for line in lines}
    for message in ("a plain line", "past Python \ufffd", "of a child"):
        assert told[message]["logger"] == "ingrain.output"
    endless = [line["message"] for line in lines if "without end" in line["message"]]
    assert len(endless) >= 2, "kept in memory until it ends"
    assert sum(message.count("without end") for message in endless) > 249_000
    assert told["A thread has failed"]["exception"].endswith("ZeroDivisionError: division by zero")
    assert any(line["logger"] == "py.warnings" and "an old way" in line["message"] for line in lines)
    assert lines[-1]["message"].startswith("Ingrain is ready")


def test_long_lines_of_several_threads_do_not_mix():
    reader, writer = os.pipe()
    pieces = [name * 200_000 + b"\n" for name in (b"a", b"b", b"c")]
    threads = [threading.Thread(target=write_all, args=(writer, piece)) for piece in pieces for _ in range(5)]
    for thread in threads:
        thread.start()
    with os.fdopen(reader, "rb") as output:
        found = [output.readline() for _ in threads]
    for thread in threads:
        thread.join()
    os.close(writer)
    assert sorted(found) == sorted(5 * pieces)


@pytest.mark.parametrize(
    ("arguments", "code", "status", "message"),
    [
        (["--workers", "zero"], "", 2, "--workers is 'zero'"),
        (["--bogus"], "", 2, "'--bogus' is not known"),
        ([], BROKEN, 1, "a library\nis broken"),
    ],
)
def test_what_ends_a_server_at_its_start_is_json_too(tmp_path, arguments, code, status, message):
    returned, lines = serve(tmp_path, *arguments, code=code)
    assert returned == status
    assert message in lines[-1]["message"]
    if code:
        assert lines[-1]["exception"].startswith("Traceback")
