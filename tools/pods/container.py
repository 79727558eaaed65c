"""Starts a container's process as Kubernetes would: with its root, mounts, variables, user and network."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SHARED = ("bin", "dev", "lib", "lib32", "lib64", "opt", "proc", "sbin", "sys", "usr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder or file of this machine at a path of the container."""

    source: Path
    target: str
    read_only: bool


def enter_script(root: Path, mounts: Sequence[Mount], reachable: Sequence[Path], *, read_only: bool) -> str:
    """Return a shell script that makes a container's root in a mount namespace of its own.

    The root is what this machine has, without its /tmp, /home, /root and /run; nothing can be written but the mounts.

    Args:
        root: An empty folder.
        mounts: The container's mounts.
        reachable: Folders of this machine that the container sees at their own paths: the Python, the packages.
        read_only: Whether the root cannot be written.
    """
    at = shlex.quote(str(root))
    lines = ["set -e", "mount --make-rprivate /", f"mount -t tmpfs -o mode=755 pod {at}"]
    for name in _SHARED:
        path = Path("/", name)
        if path.is_symlink():
            lines.append(f"ln -s {path.readlink()} {at}/{name}")
        elif path.is_dir():
            lines += [f"mkdir {at}/{name}", f"mount --rbind /{name} {at}/{name}"]
            if name not in ("dev", "proc", "sys"):
                lines.append(f"mount -o remount,bind,ro {at}/{name}")
    lines += [f"cp -a /etc {at}/etc", f"mkdir -m 755 {at}/tmp"]
    # A container's /dev/shm is small.
    lines.append(f"mount -t tmpfs -o size=64m,mode=1777 shm {at}/dev/shm")
    for path in reachable:
        lines += [f"mkdir -p {at}{path}", f"mount --rbind {path} {at}{path}", f"mount -o remount,bind,ro {at}{path}"]
    for mount in sorted(mounts, key=lambda one: one.target):
        source, target = shlex.quote(str(mount.source)), shlex.quote(f"{root}{mount.target}")
        make = f"mkdir -p {target}" if mount.source.is_dir() else f"touch {target}"
        lines += [f"{make} 2>/dev/null || true", f"mount --bind {source} {target}"]
        if mount.read_only:
            lines.append(f"mount -o remount,bind,ro {target}")
    if read_only:
        lines.append(f"mount -o remount,ro {at}")
    lines.append(f'exec chroot {at} "$@"')
    return "\n".join(lines)


def as_user(user: int, group: int) -> list[str]:
    """Return the words before a command that runs it as a user without capabilities, who cannot get any."""
    ids = ["--reuid", str(user), "--regid", str(group), "--clear-groups"]
    return ["setpriv", *ids, "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]


class Process:
    """The process of a container.

    Args:
        name: Of pod and container.
        network: Process whose network it has.
        script: From ``enter_script``.
        user: Words from ``as_user``.
        command: The command.
        variables: All its variables.
        log: File for its output.
    """

    def __init__(
        self,
        name: str,
        network: int,
        script: str,
        user: Sequence[str],
        command: Sequence[str],
        variables: Mapping[str, str],
        log: Path,
    ) -> None:
        self.name, self.log = name, log
        self._user = user
        clean = ["env", "-i", *(f"{key}={value}" for key, value in variables.items())]
        self._words = [*user, *clean]
        alone = ["nsenter", f"--net=/proc/{network}/ns/net", "unshare", "--mount"]
        full = [*alone, "sh", "-c", script, "sh", *self._words, *command]
        with log.open("ab") as output:
            self._process = subprocess.Popen(full, stdout=output, stderr=output, stdin=subprocess.DEVNULL)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def code(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """Return the exit code, None if it still runs after so many seconds."""
        try:
            return self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        """Send SIGTERM, as the kubelet does: to the first process alone."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()

    def succeeds(self, command: Sequence[str], seconds: float) -> bool:
        """Return whether a command in the container exits with 0 in time: an exec probe."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--net", "--root", "--wd"]
        try:
            done = subprocess.run([*enter, *self._words, *command], capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def tail(self, lines: int = 30) -> str:
        """Return the end of its output."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])


def reachable_folders(*more: Path) -> list[Path]:
    """Return the folders that a Python program of this tree needs."""
    folders = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), *more}
    return sorted(folder for folder in folders if not folder.is_relative_to("/usr"))


def wait_for(what: str, holds: Callable[[], object], seconds: float, every: float = 0.2) -> float:
    """Wait until a function returns something true; return the seconds it took.

    Raises:
        TimeoutError: It did not in time.
    """
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)
    return time.monotonic() - begun
