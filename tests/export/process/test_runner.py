"""The parent's side of an export, against real child processes that behave and misbehave."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ingrain import errors
from ingrain.errors import (
    ExportCrashedError,
    ExportError,
    ExportKilledError,
    ExportTimeoutError,
    ExportUnavailableError,
    IngrainError,
    ModelConflictError,
    OutOfMemoryError,
    SourceUnavailableError,
    UnsupportedModelError,
)
from ingrain.export.process import runner
from ingrain.export.process.job import ExportJob, Failed, Finished
from ingrain.export.process.runner import WORKER, exporter_available, run_export
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest

PREAMBLE = """
import json, os, signal, subprocess, sys, time
job = json.loads(sys.stdin.readline())
def emit(**event): print(json.dumps(event), flush=True)
def progress(phase, done=0): emit(type="progress", phase=phase, done=done)
def finish(): sys.stdout.buffer.write(open(job["output"], "rb").read()); sys.stdout.flush()
"""


@pytest.fixture
def job(tmp_path: Path) -> ExportJob:
    """A job whose output names the event that the child sends when it has finished."""
    manifest = Manifest(
        name="org/model",
        library="sentence_transformers",
        architecture="BertModel",
        created_at="2026-01-01T00:00:00Z",
        versions={"filler": "x" * 3_000_000},
        embedding_size=384,
        graphs=(),
    )
    (tmp_path / "finished").write_bytes(msgspec.json.encode(Finished(manifest=manifest)) + b"\n")
    return ExportJob(
        name="org/model", library="sentence_transformers", output=str(tmp_path / "finished"), token="hf_secret"
    )


async def run(job: ExportJob, code: str, *, timeout_s: float = 30.0, stall_s: float = 30.0) -> list[Progress]:
    """Run a child with this code; return its progress."""
    seen: list[Progress] = []
    await run_export(
        job,
        timeout_s=timeout_s,
        stall_s=stall_s,
        grace_s=0.5,
        on_progress=seen.append,
        command=(sys.executable, "-c", PREAMBLE + code),
    )
    return seen


def is_alive(pid: int) -> bool:
    """Return True while a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def wait_gone(pid: int, within_s: float = 15.0) -> None:
    end = time.monotonic() + within_s
    while is_alive(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        await asyncio.sleep(0.02)


async def read_when_written(path: Path, within_s: float = 60.0) -> str:
    end = time.monotonic() + within_s
    while not (text := read_if_there(path)):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    return text


def read_if_there(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def commands_of_children() -> list[str]:
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]


async def test_progress_is_passed_on_in_order_and_the_manifest_returned(job: ExportJob) -> None:
    """The manifest is one line of 3 MB."""
    seen: list[Progress] = []
    manifest = await run_export(
        job,
        timeout_s=30,
        on_progress=seen.append,
        command=(
            sys.executable,
            "-c",
            PREAMBLE + "progress('download', 1); progress('read'); progress('verify', 7); finish()",
        ),
    )
    assert [(event.phase, event.done) for event in seen] == [("download", 1), ("read", 0), ("verify", 7)]
    assert manifest.embedding_size == 384
    assert len(manifest.versions["filler"]) == 3_000_000


async def test_token_reaches_the_child_through_stdin_alone(
    job: ExportJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for name in ("INGRAIN_API_KEYS", "AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_KEY", "FSSPEC_S3_SECRET"):
        monkeypatch.setenv(name, "server_secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    code = f"""
facts = {{"token": job["token"], "argv": open("/proc/self/cmdline").read(), "env": dict(os.environ)}}
json.dump(facts, open({str(tmp_path / "facts")!r}, "w"))
finish()
"""
    await run(job, code)
    facts = json.loads((tmp_path / "facts").read_text())
    assert facts["token"] == "hf_secret"
    assert "hf_secret" not in facts["argv"]
    assert not {"hf_secret", "server_secret"} & set(facts["env"].values())
    assert facts["env"]["TOKENIZERS_PARALLELISM"] == "false"
    assert facts["env"]["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert facts["env"]["OMP_NUM_THREADS"] == "3"


def all_error_classes() -> Iterator[type[IngrainError]]:
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, IngrainError) and value is not IngrainError:
            yield value


def test_codes_are_unique() -> None:
    """Otherwise a reported error could come back as another class."""
    codes = [error_class.code for error_class in all_error_classes()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error_class", list(all_error_classes()), ids=lambda error_class: error_class.__name__)
def test_reported_error_comes_back_as_the_same_class(error_class: type[IngrainError]) -> None:
    error = Failed(error_class.code, "why").to_error()
    assert type(error) is error_class
    assert error.message == "why"


async def test_reported_error_keeps_its_attributes(job: ExportJob) -> None:
    with pytest.raises(ModelConflictError, match=r"^taken$") as caught:
        await run(
            job,
            "emit(type='failed', code='model_conflict', message='taken', param='name', retry_after_s=4,"
            " facts={'maxAbsDiff': 0.5}); time.sleep(60)",
        )
    assert (caught.value.param, caught.value.retry_after_s, caught.value.facts) == ("name", 4, {"maxAbsDiff": 0.5})


async def test_unknown_code_is_an_export_error(job: ExportJob) -> None:
    with pytest.raises(ExportError, match="why") as caught:
        await run(job, "emit(type='failed', code='from_the_future', message='why')")
    assert type(caught.value) is ExportError


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("sys.exit(3)", "status 3"),
        ("sys.exit(0)", "status 0 and no result"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("progress('export'); os.abort()", "SIGABRT"),
    ],
)
async def test_death_without_a_result_names_its_kind(job: ExportJob, code: str, message: str) -> None:
    with pytest.raises(ExportCrashedError, match=message):
        await run(job, code)


async def test_a_child_that_is_killed_is_the_machine_s_fault_and_says_what_to_do(job: ExportJob) -> None:
    """As the system does when memory ends."""
    with pytest.raises(ExportKilledError, match=r"SIGKILL.*memory") as caught:
        await run(job, "os.kill(os.getpid(), signal.SIGKILL)")
    assert caught.value.retry_after_s


async def test_a_child_whose_last_words_are_of_memory_lacked_it(job: ExportJob) -> None:
    """Rust and C++ do not raise: they write one line and abort."""
    words = "memory allocation of 800000000 bytes failed"
    with pytest.raises(OutOfMemoryError):
        await run(job, f"print({words!r}, file=sys.stderr, flush=True); os.abort()")


async def test_child_that_never_reads_its_job_is_a_crash(job: ExportJob) -> None:
    huge = msgspec.structs.replace(job, name="x" * 1_000_000)
    with pytest.raises(ExportCrashedError, match="status 7"):
        await run_export(
            huge,
            timeout_s=30,
            on_progress=lambda progress: None,
            command=(sys.executable, "-c", "import os; os._exit(7)"),
        )


async def test_deadline_counts_from_the_end_of_the_download(job: ExportJob) -> None:
    start = time.monotonic()
    await run(
        job,
        "for n in range(8): progress('download', n); time.sleep(0.2)\nprogress('read'); finish()",
        timeout_s=1.0,
    )
    assert time.monotonic() - start > 1.5


async def test_deadline_is_not_moved_by_progress(job: ExportJob) -> None:
    start = time.monotonic()
    with pytest.raises(ExportTimeoutError, match=r"longer than 1 s"):
        await run(job, "progress('read')\nfor n in range(600): progress('verify', n); time.sleep(0.1)", timeout_s=1.0)
    assert time.monotonic() - start < 25


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(60)",
        "progress('download', 5); time.sleep(60)",
        "while True: progress('download', 5); time.sleep(0.05)",
    ],
    ids=["no sign of life", "stands still", "says the same again"],
)
async def test_download_that_stands_still_is_given_up(job: ExportJob, code: str) -> None:
    with pytest.raises(SourceUnavailableError, match="no progress") as caught:
        await run(job, code, stall_s=1.0)
    assert caught.value.retry_after_s


STUBBORN = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
child.stdout.readline()
open(job["name"], "w").write(f"{os.getpid()} {child.pid}")
progress("read")
time.sleep(60)
"""


async def test_cancellation_ends_the_child_and_its_children(job: ExportJob, tmp_path: Path) -> None:
    """Even those that ignore being asked; and only then is the cancellation passed on."""
    pids_file = tmp_path / "pids"
    task = asyncio.create_task(run(msgspec.structs.replace(job, name=str(pids_file)), STUBBORN))
    pids = [int(pid) for pid in (await read_when_written(pids_file)).split()]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(pids[0])
    await wait_gone(pids[1])


async def test_cancellation_that_comes_together_with_a_line_is_not_lost(job: ExportJob) -> None:
    """Two lines in one write: the task is cancelled while the second is already there to be read."""
    loop = asyncio.get_running_loop()

    def cancel(progress: Progress) -> None:
        if not task.cancelling():
            loop.call_soon(task.cancel)

    line = json.dumps({"type": "progress", "phase": "read"}) + "\n"
    task = asyncio.create_task(
        run_export(
            job,
            timeout_s=10,
            on_progress=cancel,
            command=(sys.executable, "-c", PREAMBLE + f"os.write(1, {line * 2!r}.encode()); time.sleep(60)"),
        )
    )
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_deadline_ends_the_child_and_its_children(job: ExportJob, tmp_path: Path) -> None:
    pids_file = tmp_path / "pids"
    with pytest.raises(ExportTimeoutError):
        await run(msgspec.structs.replace(job, name=str(pids_file)), STUBBORN, timeout_s=0.2)
    for pid in pids_file.read_text().split():
        await wait_gone(int(pid))


async def test_child_that_ends_politely_is_not_killed(job: ExportJob, tmp_path: Path) -> None:
    """Asked to end, the child has time to."""
    note = tmp_path / "note"
    with pytest.raises(ExportTimeoutError):
        await run(
            job,
            f"signal.signal(signal.SIGTERM, lambda *_: (open({str(note)!r}, 'w').write('bye'), sys.exit(0)))\n"
            "progress('read'); time.sleep(60)",
            timeout_s=0.2,
        )
    assert note.read_text() == "bye"


@pytest.mark.parametrize("stdout", [1, 2], ids=["holds stdout", "holds stderr"])
async def test_crashed_childs_own_children_end_too(job: ExportJob, tmp_path: Path, stdout: int) -> None:
    """They hold the pipes open, which must not hide that the child is dead."""
    pid_file = tmp_path / "pid"
    with pytest.raises(ExportCrashedError):
        await run(
            job,
            f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], stdout={stdout})\n"
            f"open({str(pid_file)!r}, 'w').write(str(child.pid)); os._exit(1)",
        )
    await wait_gone(int(pid_file.read_text()))


async def test_error_of_the_listener_ends_the_child(job: ExportJob) -> None:
    def refuse(progress: Progress) -> None:
        raise KeyError("listener")

    start = time.monotonic()
    with pytest.raises(KeyError, match="listener"):
        await run_export(
            job,
            timeout_s=30,
            on_progress=refuse,
            command=(sys.executable, "-c", PREAMBLE + "progress('read'); time.sleep(60)"),
        )
    assert time.monotonic() - start < 20


async def test_stderr_is_drained_and_its_end_is_logged_on_failure(
    job: ExportJob, caplog: pytest.LogCaptureFixture
) -> None:
    """Megabytes on stderr must not block the child; the token must not reach the log."""
    with caplog.at_level(logging.DEBUG, "ingrain.export"), pytest.raises(ExportCrashedError):
        await run(
            job,
            "for n in range(100_000): print(f'line {n} with {job[\"token\"]} and much more', file=sys.stderr)\n"
            "sys.exit(1)",
        )
    (record,) = [record for record in caplog.records if "wrote:" in record.getMessage()]
    assert record.levelno == logging.ERROR
    logged = record.getMessage()
    assert "line 99999 with ***" in logged
    assert "line 99599 " not in logged
    assert "hf_secret" not in logged


async def test_what_a_child_wrote_before_it_refused_a_model_is_in_the_log(
    job: ExportJob, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages such as "no exporter can express it" send their readers to the log."""
    with caplog.at_level(logging.INFO, "ingrain.export"), pytest.raises(UnsupportedModelError):
        await run(
            job,
            "print(f'dynamo did not work: {job[\"token\"]}', file=sys.stderr, flush=True)\n"
            "emit(type='failed', code='unsupported_model', message='no exporter can express it')",
        )
    (record,) = [record for record in caplog.records if "wrote:" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert "dynamo did not work: ***" in record.getMessage()


async def test_stderr_of_a_good_export_is_for_debugging_only(job: ExportJob, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "ingrain.export"):
        await run(job, "print('a warning', file=sys.stderr, flush=True); time.sleep(0.2); finish()")
    assert {record.levelno for record in caplog.records if "wrote:" in record.getMessage()} == {logging.DEBUG}


async def test_lines_that_are_no_events_are_skipped(job: ExportJob) -> None:
    seen = await run(job, "print('hello'); print('{\"type\": \"other\"}'); print(); progress('read'); finish()")
    assert [event.phase for event in seen] == ["read"]


async def test_many_exports_leave_no_process_and_no_open_file(job: ExportJob) -> None:
    """Ends as often as a server might see them: nothing piles up."""
    before = open_files()
    for code in ("finish()", "sys.exit(1)", "emit(type='failed', code='export_failed', message='no')") * 3:
        try:
            await run(job, code)
        except ExportError:
            pass
    await asyncio.sleep(0.2)
    assert open_files() <= before + 2
    assert not [command for command in commands_of_children() if "json.loads(sys.stdin" in command]


def test_exporter_is_available_here_and_nothing_is_imported_to_know_that() -> None:
    import subprocess

    code = (
        "import sys; from ingrain.export.process.runner import exporter_available; print(exporter_available());"
        "print({'torch', 'transformers', 'sentence_transformers', 'onnx', 'huggingface_hub'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split("\n")[:2] == ["None", "set()"]


async def test_missing_exporter_is_said_with_what_to_install(job: ExportJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_NEEDED", ("torch", "no_such_library"))
    reason = exporter_available()
    assert reason is not None
    assert "no_such_library" in reason
    with pytest.raises(ExportUnavailableError, match=r"pip install -c requirements/constraints\.txt '\.\[export\]'"):
        await run_export(job, timeout_s=1, on_progress=lambda progress: None)


async def test_signals_are_named() -> None:
    assert runner._signal_name(signal.SIGKILL) == "SIGKILL"
    assert runner._signal_name(63) == "signal 63"


def test_the_worker_imports_nothing_from_the_folder_it_is_started_in(tmp_path):
    """A folder ``triton/`` or a stray file beside the server is neither imported nor run."""
    (tmp_path / "stray.py").write_text("print('run')")
    command = [*WORKER[:-2], "-c", "import stray"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout == ""


async def test_a_child_that_dies_before_it_has_the_job_is_started_once_more(job, tmp_path, monkeypatch):
    """On uvloop the pipe of a dead process raises another error than on asyncio."""
    sent = runner._send

    async def after_its_end(process, job):
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            process.kill()
            await process.wait()
            await asyncio.sleep(0.1)
        return await sent(process, job)

    monkeypatch.setattr(runner, "_send", after_its_end)
    await run(job, "finish()")
    assert (tmp_path / "died").exists()
