"""How many cores may be used: by the processors that the process is bound to, and by quotas of CPU time."""

import os

import pytest

from ingrain.cores import usable_cores

BOUND = len(os.sched_getaffinity(0))
SMALL = min(BOUND, 2)


@pytest.fixture
def kernel(tmp_path):
    """Folders in place of /proc and /sys/fs/cgroup: ``files`` by their path below the latter."""

    def make(groups: str, **files: str):
        (tmp_path / "proc" / "self").mkdir(parents=True)
        (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return usable_cores(tmp_path / "proc", tmp_path / "cgroup")

    return make


def test_without_a_quota_it_is_the_processors_that_the_process_is_bound_to(kernel):
    assert kernel("0::/\n", **{"cpu.max": "max 100000\n"}) == BOUND


@pytest.mark.parametrize(("quota", "cores"), [(50_000, 1), (100_000, 1), (150_000, SMALL), (100_000_000, BOUND)])
def test_a_limit_of_the_container_counts_as_cores_rounded_up(kernel, quota, cores):
    assert kernel("0::/\n", **{"cpu.max": f"{quota} 100000\n"}) == cores


def test_the_tightest_group_decides(kernel):
    """Kubernetes limits the pod as well as the container."""
    files = {"pod/box/cpu.max": "max 100000\n", "pod/cpu.max": "100000 100000\n"}
    assert kernel("0::/pod/box\n", **files) == 1


def test_quotas_of_the_first_version_count_too(kernel):
    """There -1 is none, and controllers share a folder."""
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "90000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}
    assert kernel("5:cpuset:/\n4:cpu,cpuacct:/docker/abc\n", **files) == 1


def test_no_quota_of_the_first_version(kernel):
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert kernel("4:cpu:/\n", **files) == BOUND
