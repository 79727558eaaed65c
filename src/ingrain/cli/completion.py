"""`ingrain completion`: a script that lets a shell complete commands and flags, made of the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable

_EXAMPLES = """\
examples:
  ingrain completion bash > ~/.local/share/bash-completion/completions/ingrain
  ingrain completion zsh > ~/.zfunc/_ingrain        # a folder of $fpath
  ingrain completion fish > ~/.config/fish/completions/ingrain.fish
"""

Commands = dict[str, argparse.ArgumentParser]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser; it must be the last one, for it knows those that were added before it."""
    parser = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        description="Print a script that completes commands, flags and their values.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=sorted(_SCRIPTS))
    known = commands.choices

    def run(options: dict[str, object]) -> int:
        print(_SCRIPTS[str(options["shell"])](known), end="")
        return 0

    parser.set_defaults(run=run)


def _bash(commands: Commands) -> str:
    cases = []
    for name, parser in commands.items():
        values = "".join(
            f"        {'|'.join(action.option_strings)}) words='{' '.join(choices)}' ;;\n"
            for action in _flags(parser)
            if (choices := _choices(action))
        )
        words = " ".join([*_words(parser), *_positional_choices(parser)])
        inner = f"      case $previous in\n{values}        *) words='{words}' ;;\n      esac" if values else ""
        cases.append(f"    {name})\n{inner or f'      words={chr(39)}{words}{chr(39)}'}\n      ;;\n")
    return f"""\
# Completion of `ingrain` for bash.
_ingrain() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words=
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W '{" ".join([*commands, "--help", "--version"])}' -- "$current"))
    return
  fi
  case ${{COMP_WORDS[1]}} in
{"".join(cases)}  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _ingrain ingrain
"""


def _zsh(commands: Commands) -> str:
    described = " ".join(_quoted(f"{name}:{_help(parser)}") for name, parser in commands.items())
    cases = []
    for name, parser in commands.items():
        specs = []
        for action in _flags(parser):
            value = _zsh_value(action)
            specs += [_quoted(f"{flag}[{_clean(action.help)}]{value}") for flag in action.option_strings]
        positional = _positional_choices(parser)
        specs.append(_quoted(f"*:argument:({' '.join(positional)})" if positional else "*:file:_files"))
        cases.append(f"    {name}) _arguments {' '.join(specs)} ;;\n")
    return f"""\
#compdef ingrain
# Completion of `ingrain` for zsh.
local -a commands=({described})
if ((CURRENT == 2)); then
  _describe command commands
else
  shift words
  ((CURRENT--))
  case $words[1] in
{"".join(cases)}  esac
fi
"""


def _fish(commands: Commands) -> str:
    lines = ["# Completion of `ingrain` for fish."]
    for name, parser in commands.items():
        lines.append(f"complete -c ingrain -n __fish_use_subcommand -f -a {name} -d {_quoted(_help(parser))}")
        inside = f"complete -c ingrain -n '__fish_seen_subcommand_from {name}'"
        if positional := _positional_choices(parser):
            lines.append(f"{inside} -f -a {_quoted(' '.join(positional))}")
        for action in _flags(parser):
            names = " ".join(
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in action.option_strings
            )
            choices = _choices(action)
            value = f" -x -a {_quoted(' '.join(choices))}" if choices else " -r" if _takes_value(action) else ""
            lines.append(f"{inside} {names}{value} -d {_quoted(_clean(action.help))}")
    return "\n".join(lines) + "\n"


_SCRIPTS: dict[str, Callable[[Commands], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}


def _flags(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


def _words(parser: argparse.ArgumentParser) -> list[str]:
    return [flag for action in _flags(parser) for flag in action.option_strings if flag.startswith("--")]


def _choices(action: argparse.Action) -> list[str]:
    """Return a flag's values, where there are only a few; settings tell theirs by their placeholder."""
    if action.choices:
        return [str(choice) for choice in action.choices]
    shown = action.metavar if isinstance(action.metavar, str) else ""
    return shown.split("|") if "|" in shown else []


def _positional_choices(parser: argparse.ArgumentParser) -> list[str]:
    found = (action.choices for action in parser._actions if not action.option_strings and action.choices)
    return [str(choice) for choices in found for choice in choices]


def _takes_value(action: argparse.Action) -> bool:
    return action.nargs != 0


def _zsh_value(action: argparse.Action) -> str:
    if not _takes_value(action):
        return ""
    choices = _choices(action)
    return f":value:({' '.join(choices)})" if choices else ":value:_files"


def _help(parser: argparse.ArgumentParser) -> str:
    return _clean((parser.description or "").partition(". ")[0].rstrip("."))


def _clean(text: str | None) -> str:
    """Return a help text in one short line, without what shells take for syntax."""
    words = (text or "").replace("%%", "%").replace("'", "’")
    plain = "".join(" " if character in '[]:"`$\\' else character for character in words)
    return " ".join(plain.split()).partition(". ")[0][:80].strip()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
