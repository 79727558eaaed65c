"""`ingrain bundle`: packs stored models into one file, or checks such a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ingrain.cli.connect import model_of, quiet_logs, say
from ingrain.cli.parsers import add_command, add_json_flag
from ingrain.cli.stored import find_stored, open_repository
from ingrain.errors import SettingsError
from ingrain.settings import load_settings

if TYPE_CHECKING:
    from ingrain.repository.bundle.header import Header

_EXAMPLES = """\
examples:
  ingrain bundle all-MiniLM-L6-v2 -o models.bundle
  ingrain bundle all-MiniLM-L6-v2 open_clip:ViT-B-32@laion2b_s34b_b79k -o models.bundle --sign-key private.pem
  ingrain bundle --verify models.bundle --public-key public.pem

It reads the repository on this machine, not a server. A bundle holds all that serving needs.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        commands,
        "bundle",
        "pack models for machines without a network",
        bundle,
        description="Pack models of the repository into one file for `ingrain serve --bundle`, or check such a file.",
        examples=_EXAMPLES,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a model of the repository; also `library:name@tag`.")
    parser.add_argument("-o", "--output", metavar="FILE", help="the bundle to write.")
    parser.add_argument("--verify", metavar="FILE", help="check a bundle instead: checksums, manifests and signature.")
    parser.add_argument("--sign-key", metavar="FILE", help="PEM file with the Ed25519 private key that signs it.")
    parser.add_argument(
        "--public-key", metavar="FILE", help="with --verify: PEM file with the Ed25519 key it must be signed for."
    )
    parser.add_argument(
        "--repository", metavar="FOLDER", help="or a URL. Default: INGRAIN_REPOSITORY, else where serve keeps it."
    )
    add_json_flag(parser)


def bundle(options: dict[str, object]) -> int:
    """Run the command."""
    from ingrain.repository.bundle.reader import read_bundle
    from ingrain.repository.bundle.writer import write_bundle

    quiet_logs()
    _check_flags(options)
    if options["verify"] is not None:
        checked = read_bundle(Path(str(options["verify"])), _path(options["public_key"]))
        signed = "signed for the given key" if options["public_key"] else "signed" if checked.is_signed else "unsigned"
        _say(checked.header, f"whole, {signed}", options)
        return 0
    repository = open_repository(load_settings({"repository": options["repository"]}))
    entries = {}
    for name in options["names"]:  # type: ignore[attr-defined]  # argparse gives a list
        ref, library = model_of(name, None, None)
        entry = find_stored(repository, ref.name, library, ref.pretrained)
        entries[entry.key] = entry
    header = write_bundle(repository, list(entries.values()), Path(str(options["output"])), _path(options["sign_key"]))
    _say(header, f"written to {options['output']}", options)
    return 0


def _check_flags(options: dict[str, object]) -> None:
    """Raise SettingsError if flags of writing and of checking are mixed, or those of neither are complete."""
    if options["verify"] is not None:
        for flag, value in (
            ("a name", options["names"]),
            ("-o", options["output"]),
            ("--sign-key", options["sign_key"]),
        ):
            if value:
                raise SettingsError(f"--verify only checks a bundle; {flag} does not go with it.", param="--verify")
    elif not options["names"] or options["output"] is None:
        raise SettingsError("Give the names of models and -o FILE, or --verify FILE.", param="-o")
    elif options["public_key"] is not None:
        raise SettingsError("--public-key goes with --verify; a bundle is signed by --sign-key.", param="--public-key")


def _path(given: object) -> Path | None:
    return Path(str(given)) if given is not None else None


def _say(header: Header, what: str, options: dict[str, object]) -> None:
    size = sum(one.size_bytes for one in header.objects)
    names = [model.name for model in header.models]
    say(
        {"models": names, "sizeBytes": size, "format": header.format},
        as_json=options["json"],
        text=f"{', '.join(names)}: {size / 1e6:.1f} MB, {what}.",
    )
