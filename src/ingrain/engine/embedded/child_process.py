"""Runs a child process that ends when this process ends, together with its own children."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

logger = logging.getLogger(__name__)

# Longest wait for a killed process, which an unresponsive disk can keep in the kernel.
_KILLED_S = 10.0
# Longest wait for the rest of the output: a process that has left the group may hold the pipe open for ever.
_OUTPUT_S = 2.0

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
        # Only the waiting thread reaps the command. `Popen.send_signal` would reap it too, and take it from the thread.
        self._reaping = threading.Lock()
        self._is_reaped = False
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
        return await self.wait_or_kill(deadline_s)

    async def wait_or_kill(self, deadline_s: float) -> int:
        """Wait until the command ends, and send SIGKILL after ``deadline_s`` seconds; return the exit code."""
        for wait_s in (deadline_s, _KILLED_S):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    return await asyncio.shield(self.exited)
            self.signal(signal.SIGKILL)
        logger.error("Process %d did not end within %g s after SIGKILL", self.pid, _KILLED_S)
        return -signal.SIGKILL

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command, if it still runs."""
        with self._reaping:
            if not self._is_reaped:
                os.kill(self.pid, number)

    def _read(self, on_line: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                on_line(line.rstrip("\n"))

    def _wait(self) -> None:
        # WNOWAIT leaves the dead command unreaped, so that no other process can reuse its group's id before the kill.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(ProcessLookupError):  # the group died with its leader
            os.killpg(self.pid, signal.SIGKILL)
        with self._reaping:
            code = self._process.wait()
            self._is_reaped = True
        if self._reader is not None:
            self._reader.join(_OUTPUT_S)
        with contextlib.suppress(RuntimeError):  # the event loop is closed, so nobody awaits the future
            self._loop.call_soon_threadsafe(self._set_exited, code)

    def _set_exited(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)
