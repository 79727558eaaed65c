"""How much memory is free, by the machine and by the groups that confine this process."""

from ingrain.machine_memory import free_bytes


def machine(root, available_kb=8_000_000, group="/"):
    proc = root / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 16000000 kB\nMemAvailable:    {available_kb} kB\n")
    (proc / "self" / "cgroup").write_text(f"0::{group}\n")
    return proc, root / "cgroup"


def confine(folder, limit, used, cached=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")


def test_without_limits_it_is_what_the_machine_has(tmp_path):
    assert free_bytes(*machine(tmp_path)) == 8_000_000 * 1024


def test_a_container_has_what_its_limit_leaves_files_in_the_cache_not_counted(tmp_path):
    proc, groups = machine(tmp_path)
    confine(groups, 2_000_000, 1_500_000, cached=400_000)
    assert free_bytes(proc, groups) == 900_000


def test_of_several_groups_the_tightest_decides(tmp_path):
    proc, groups = machine(tmp_path, group="/outer/inner")
    confine(groups / "outer", 1_000_000, 900_000)
    confine(groups / "outer" / "inner", "max", 5)
    assert free_bytes(proc, groups) == 100_000


def test_where_the_kernel_does_not_say_nobody_knows(tmp_path):
    assert free_bytes(tmp_path / "proc", tmp_path / "groups") is None
