"""`ingrain doctor`: checks the installation and the machine, and reports problems."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from ingrain import __version__
from ingrain.cli.connect import quiet_logs, say
from ingrain.cli.parsers import add_command, add_json_flag
from ingrain.errors import SettingsError
from ingrain.settings import load_settings, unknown_variables

if TYPE_CHECKING:
    from ingrain.cli.doctor_checks import Finding

_EXAMPLES = """\
examples:
  ingrain doctor
  INGRAIN_REPOSITORY=/repository ingrain doctor --json

It checks this machine with the settings of the environment, like `ingrain serve`. The exit status is 1 if it finds a
failure, with which the server would not work; warnings and notes do not count.
"""
_SIGNS = {"ok": "ok  ", "note": "note", "warning": "WARN", "failure": "FAIL"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        commands,
        "doctor",
        "check the installation and the machine for problems",
        doctor,
        description="Check installation, engine, ports, disk, memory, GPU and hub; say how to fix problems.",
        examples=_EXAMPLES,
    )
    add_json_flag(parser)


def doctor(options: dict[str, object]) -> int:
    """Run the command."""
    quiet_logs()
    as_json = bool(options["json"])
    findings = []
    for finding in _findings():
        findings.append(finding)
        if not as_json:
            print(_line(finding), flush=True)
    failures = sum(finding.status == "failure" for finding in findings)
    say(
        {"version": __version__, "healthy": not failures, "findings": [asdict(finding) for finding in findings]},
        as_json=as_json,
        text=f"\n{failures} in the way of `ingrain serve`." if failures else "\n`ingrain serve` should work here.",
    )
    return 1 if failures else 0


def _findings() -> Iterator[Finding]:
    from ingrain.cli.doctor_checks import CHECKS, Finding

    yield Finding("Ingrain", "ok", __version__)
    for unknown in unknown_variables():
        yield Finding("settings", "warning", unknown)
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Finding("settings", "failure", error.message, cure="`ingrain serve --help` lists the settings.")
        return
    for check in CHECKS:
        try:
            yield from check(settings)
        except Exception as error:  # a check that fails unexpectedly must not end the others
            subject = check.__name__.removeprefix("check_")
            yield Finding(subject, "warning", f"could not be checked ({error!r})")


def _line(finding: Finding) -> str:
    line = f"{_SIGNS[finding.status]}  {finding.subject}: {finding.detail}"
    return line if finding.cure is None else f"{line}\n      cure: {finding.cure}"
