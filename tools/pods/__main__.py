"""Renders the Helm chart and runs its pods as processes, with their commands, variables, files, probes and ends.

Each container has a root of its own that cannot be written but for its mounts, runs as user 1000 without capabilities,
and shares a network with its pod alone. HAProxy is the services, a file of hosts is their DNS. Not tried here: what
only a cluster or a container engine does, such as images, NetworkPolicies, seccomp, storage classes, GPUs.

Needs root, `helm` (`make deploy-tools`), `haproxy`, `ip`, `unshare`, `nsenter`, `setpriv` and `curl`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

_NEEDED = ("ip", "unshare", "nsenter", "setpriv", "chroot", "curl", "haproxy")
_INSIDE = "--inside"


def missing(helm: str) -> list[str]:
    """Return what this machine lacks."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    lacking = [name for name in (*_NEEDED, helm) if shutil.which(name, path=path) is None]
    return [*lacking, *([] if os.geteuid() == 0 else ["root"])]


def main() -> None:
    """Run the scenarios of the command line in a network namespace of their own."""
    parser = argparse.ArgumentParser(
        prog="python -m pods", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", help="together, apart, alone; default: all")
    parser.add_argument("--helm", default="helm", help="the program")
    parser.add_argument("--tritons", type=int, default=3, help="Tritons of `apart` (default: 3)")
    parser.add_argument(_INSIDE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if lacking := missing(options.helm):
        sys.exit(f"Not possible here, for lack of: {', '.join(lacking)}")
    if not options.inside:
        words = [sys.executable, "-m", "pods", _INSIDE, *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", *words])
    sys.exit(_run(options))


def _run(options: argparse.Namespace) -> int:
    from pods.network import make_bridge
    from pods.scenarios import SCENARIOS, BrokenPromiseError, apart

    os.environ["PATH"] += ":/usr/sbin:/sbin"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every process ends with this one
    make_bridge()
    folder = Path(tempfile.mkdtemp(prefix="pods-", dir="/tmp"))  # a path that every user can enter
    folder.chmod(0o755)
    for name in options.scenarios or SCENARIOS:
        begun = time.monotonic()
        print(f"== {name}", flush=True)
        arguments = {"tritons": options.tritons} if SCENARIOS[name] is apart else {}
        try:
            for line in SCENARIOS[name](options.helm, folder / name, **arguments):
                print(f"ok   {line}", flush=True)
        except (BrokenPromiseError, RuntimeError) as error:
            print(f"FAIL {error}\nLogs: {folder / name}", flush=True)
            return 1
        print(f"     {time.monotonic() - begun:.0f} s", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    main()
