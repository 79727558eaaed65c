"""What the machine lacked is told from real faults, and from how libraries wrap them."""

import errno
import resource
from pathlib import Path

import pytest

from ingrain.errors import (
    DiskFullError,
    DiskUnusableError,
    MachineError,
    MachineLimitError,
    OutOfMemoryError,
    VerificationError,
)
from ingrain.machine_faults import machine_fault, machine_fault_in, naming_repository_faults, raise_if_machines
from small_disks import mounted


def fill_a_full_disk(_: Path) -> None:
    with Path("/dev/full").open("wb") as file:
        file.write(bytes(100))


def fill_a_small_disk(folder: Path) -> None:
    with mounted(folder / "small", "size=64k") as small:
        (small / "file").write_bytes(bytes(100_000))


def write_past_the_limit_of_a_file(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 24, hard))
    try:
        with (folder / "file").open("wb") as file:
            file.truncate((1 << 24) + 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_to_a_read_only_disk(folder: Path) -> None:
    with mounted(folder / "read-only", "size=64k,ro") as read_only:
        (read_only / "file").write_bytes(b"x")


def write_where_the_system_forbids_it(_: Path) -> None:
    Path("/sys/ingrain").mkdir()


def ask_for_too_much_memory(_: Path) -> None:
    bytearray(1 << 60)


def open_too_many_files(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened, opened_now = [], list(Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (64 + len(opened_now), hard))
    try:
        while True:
            opened.append((folder / "file").open("wb"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for file in opened:
            file.close()


def wrapped(fault, folder: Path) -> None:
    try:
        fault(folder)
    except (OSError, MemoryError) as error:
        raise RuntimeError("the network cannot be written") from error


def dealt_with(fault) -> None:
    try:
        fault(Path())
    except OSError:
        raise ValueError("the weights have another shape") from None


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (fill_a_full_disk, DiskFullError),
        (fill_a_small_disk, DiskFullError),
        (write_past_the_limit_of_a_file, DiskFullError),
        (write_to_a_read_only_disk, DiskUnusableError),
        (write_where_the_system_forbids_it, DiskUnusableError),
        (ask_for_too_much_memory, OutOfMemoryError),
        (open_too_many_files, MachineLimitError),
    ],
)
def test_each_real_fault_is_known_beneath_what_a_library_makes_of_it(fault, expected, tmp_path):
    """A library raises an error of its own, and ours comes on top."""
    with pytest.raises(RuntimeError) as caught:
        wrapped(fault, tmp_path)
    found = machine_fault(caught.value)
    with pytest.raises(expected):
        raise_if_machines(caught.value)
    assert type(found) is expected
    assert "again later" in found.message
    assert found.retry_after_s
    assert str(tmp_path) not in found.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12", OutOfMemoryError),
        ("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bad allocation", OutOfMemoryError),
        ("[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc", OutOfMemoryError),
        ("Failed to allocate memory for requested buffer of size 9", OutOfMemoryError),
        ("libtorch_cpu.so: failed to map segment from shared object", OutOfMemoryError),
        ("CUDA error: out of memory", OutOfMemoryError),
        ("memory allocation of 4096 bytes failed\nAborted", OutOfMemoryError),
        ("I/O error: No space left on device (os error 28)", DiskFullError),
        ("I/O error: whatever the language calls it (os error 30)", DiskUnusableError),
        ("can't start new thread", MachineLimitError),
        ("Cannot broadcast shapes [1, 2] and [3]", type(None)),
        ("no such file (os error 2)", type(None)),
    ],
)
def test_libraries_without_errors_of_their_own_kind_are_known_by_the_system_s_words(text, expected):
    assert type(machine_fault_in(text)) is expected
    assert type(machine_fault(RuntimeError(text))) is expected


@pytest.mark.parametrize(
    "error", [ValueError("no"), FileNotFoundError(2, "No such file"), VerificationError("0.3"), KeyError("x")]
)
def test_what_is_the_model_s_own_fault_stays_its_own(error):
    assert machine_fault(error) is None
    raise_if_machines(error)


def test_a_fault_that_was_dealt_with_counts_for_nothing():
    """``from None`` says that what came before does not matter, and a traceback shows it no more."""
    with pytest.raises(ValueError, match="shape") as caught:
        dealt_with(fill_a_full_disk)
    assert isinstance(caught.value.__context__, OSError)
    assert machine_fault(caught.value) is None


def test_members_of_a_group_are_looked_at_and_circles_end():
    group = ExceptionGroup("two", [ValueError("no"), MemoryError()])
    assert isinstance(machine_fault(group), OutOfMemoryError)
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert machine_fault(one) is None


def test_an_error_that_is_one_already_is_raised_as_it_is():
    error = MachineError("x")
    with pytest.raises(MachineError) as caught:
        raise_if_machines(error)
    assert caught.value is error


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError(errno.ECONNRESET, "reset")])
def test_an_error_that_is_no_disks_is_not_told_as_one(error):
    """Both are OSErrors by class."""
    with pytest.raises(type(error)), naming_repository_faults():
        raise error


@pytest.mark.parametrize(
    ("number", "cls"),
    [(errno.ENOSPC, DiskFullError), (errno.ENOENT, DiskUnusableError), (errno.EROFS, DiskUnusableError)],
)
def test_any_other_fault_of_the_repositorys_files_names_the_disk(number, cls):
    with pytest.raises(cls, match="disk"), naming_repository_faults():
        raise OSError(number, "as the system says")
