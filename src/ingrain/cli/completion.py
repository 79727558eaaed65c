"""`ingrain completion`: a script that lets a shell complete commands, flags and their values."""

from __future__ import annotations

import argparse

from ingrain.cli.parsers import add_command

SHELLS = ("bash", "fish", "powershell", "tcsh", "zsh")

_EXAMPLES = """\
examples:
  ingrain completion bash > ~/.local/share/bash-completion/completions/ingrain
  ingrain completion zsh > ~/.zfunc/_ingrain        # a folder of $fpath
  ingrain completion fish > ~/.config/fish/completions/ingrain.fish
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], root: argparse.ArgumentParser) -> None:
    """Add the command's parser; ``root`` is the parser of all commands, which the script is made of."""

    def run(options: dict[str, object]) -> int:
        import shtab

        for command in commands.choices.values():
            for action in command._actions:
                if action.choices is None and action.nargs != 0:
                    action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
        print(shtab.complete(root, str(options["shell"])))
        return 0

    parser = add_command(
        commands,
        "completion",
        "print a completion script for a shell",
        run,
        description="Print a script that completes commands, flags and their values.",
        examples=_EXAMPLES,
    )
    parser.add_argument("shell", choices=SHELLS)
