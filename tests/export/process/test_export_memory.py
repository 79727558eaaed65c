"""An export that needs too much memory ends, and says so; whatever it starts counts."""

import asyncio
import sys
from pathlib import Path

import pytest

from ingrain.errors import OutOfMemoryError
from ingrain.export.process.job import ExportJob
from ingrain.export.process.runner import run_export
from ingrain.machine_memory import machine_bytes

LIMIT = 400 << 20
HOLD = """
import sys, time
held = bytearray({size})
held[::4096] = b"x" * len(held[::4096])
time.sleep(60)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")


async def export(code: str, tmp_path: Path) -> None:
    total = machine_bytes()
    assert total is not None
    job = ExportJob(name="org/model", library="sentence_transformers", output=str(tmp_path))
    async with asyncio.timeout(60):
        await run_export(
            job,
            timeout_s=50,
            on_progress=lambda progress: None,
            grace_s=0.5,
            memory_share=LIMIT / total,
            command=(sys.executable, "-c", code),
        )


async def test_an_allocation_over_the_limit_fails_in_the_export_itself(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemoryError, match="INGRAIN_EXPORT_MEMORY"):
        await export("import sys; sys.stdin.readline(); held = bytearray(2 * " + str(LIMIT) + ")", tmp_path)


async def test_the_processes_of_an_export_share_one_limit(tmp_path: Path) -> None:
    one = HOLD.format(size=LIMIT * 3 // 4)
    code = f"""
import subprocess, sys, time
children = [subprocess.Popen([sys.executable, "-c", {one!r}]) for _ in range(2)]
time.sleep(60)
"""
    with pytest.raises(OutOfMemoryError, match=r"'org/model' needs more than 0\.4 GiB"):
        await export(code, tmp_path)


async def test_the_system_ends_an_export_before_the_server(tmp_path: Path) -> None:
    code = f"""
import sys
sys.stdin.readline()
open({str(tmp_path / "score")!r}, "w").write(open("/proc/self/oom_score_adj").read())
"""
    with pytest.raises(Exception, match="no result"):
        await export(code, tmp_path)
    assert (tmp_path / "score").read_text().strip() == "1000"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/", {}, 8 << 30),
        ("0::/", {"memory.max": "max"}, 8 << 30),
        ("0::/", {"memory.max": str(2 << 30)}, 2 << 30),
        ("0::/a/b", {"a/memory.max": str(3 << 30), "a/b/memory.max": "max"}, 3 << 30),
        ("3:memory:/docker/1", {"memory/memory.limit_in_bytes": str(1 << 30)}, 1 << 30),
        ("3:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 8 << 30),
        ("5:cpu,cpuacct:/", {"memory.max": str(2 << 30)}, 8 << 30),
    ],
)
def test_a_container_s_limit_counts(tmp_path: Path, own: str, files: dict[str, str], expected: int) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal:       {8 << 20} kB\n")
    (proc / "self" / "cgroup").write_text(own + "\n")
    for name, text in files.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(text + "\n")
    assert machine_bytes(proc, cgroups) == expected
