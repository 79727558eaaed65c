"""Runs a child process that ends when this process ends, together with its own children."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

# A separate Python process runs this and then executes the command. A preexec_fn of ours could deadlock on locks that
# other threads (gRPC's) held at the fork. Linux sends the signal when the thread that forked ends.
_TIE_TO_PARENT = (
    "import ctypes, os, sys\n"
    "PR_SET_PDEATHSIG = 1\n"
    "ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(sys.argv[2]), 0, 0, 0)\n"
    "if os.getppid() != int(sys.argv[1]):\n"
    "    sys.exit('the parent is gone')\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)


class ChildProcess:
    """A running command in its own session.

    The kernel sends the command ``death_signal`` when this process ends, even by SIGKILL. When the command ends, the
    rest of its process group is killed first.

    Args:
        command: Absolute path of the program, and its arguments.
        environment: The whole environment.
        on_line: Called in a separate thread with each line of output (stdout and stderr); None to let the command
            inherit this process's output.
        pass_fds: File descriptors that the command inherits, with the same numbers.
        death_signal: Signal that the command gets when this process ends.

    Attributes:
        pid: Process id of the command.
        exited: Future that holds the exit code, negative for a signal, once the command has ended and its output is
            read.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_line: Callable[[str], None] | None,
        *,
        pass_fds: Sequence[int] = (),
        death_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _TIE_TO_PARENT, str(os.getpid()), str(int(death_signal)), *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if on_line is not None else None,
            stderr=subprocess.STDOUT if on_line is not None else None,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=pass_fds,
        )
        self.pid = self._process.pid
        self._reader: threading.Thread | None = None
        if on_line is not None:
            self._reader = threading.Thread(
                target=self._read, args=(on_line,), name=f"output of {self.pid}", daemon=True
            )
            self._reader.start()
        threading.Thread(target=self._wait, name=f"exit of {self.pid}", daemon=True).start()

    async def stop(self, deadline_s: float) -> int:
        """Send SIGTERM, then SIGKILL after ``deadline_s`` seconds; return the exit code."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.shield(self.exited)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await asyncio.shield(self.exited)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command, if it still runs."""
        self._process.send_signal(number)

    def _read(self, on_line: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                on_line(line.rstrip("\n"))

    def _wait(self) -> None:
        # WNOWAIT leaves the dead command unreaped, so that no other process can reuse its group's id before the kill.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # the group died with its leader
        code = self._process.wait()
        if self._reader is not None:
            self._reader.join()
        try:
            self._loop.call_soon_threadsafe(self._set_exited, code)
        except RuntimeError:
            pass  # the event loop is closed, so nobody awaits the future

    def _set_exited(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)
