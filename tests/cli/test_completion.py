"""Completion scripts, which shtab makes: bash runs its own; those of the other shells hold every command and flag."""

import argparse
import shutil
import subprocess

import pytest
import shtab

from ingrain.cli.completion import SHELLS
from ingrain.cli.main import main, make_parser


@pytest.fixture
def script(capsys):
    def make(shell: str) -> str:
        assert main(["completion", shell]) == 0
        return capsys.readouterr().out

    return make


@pytest.mark.parametrize(
    ("words", "expected", "not_expected"),
    [
        (["ingrain", "mod"], {"models"}, {"embed"}),
        (["ingrain", ""], {"serve", "embed", "completion"}, {"--help"}),
        (["ingrain", "-"], {"--help", "--version"}, {"serve"}),
        (["ingrain", "embed", "--out"], {"--output", "--output-format"}, {"--text"}),
        (["ingrain", "embed", "--output-format", ""], {"npy", "parquet"}, {"--text"}),
        (["ingrain", "serve", "--engine", ""], {"auto", "embedded", "triton", "onnxruntime"}, {"--host"}),
        (["ingrain", "load", "x", "--library", "t"], {"timm"}, {"open_clip"}),
        (["ingrain", "completion", "f"], {"fish"}, {"bash"}),
    ],
)
def test_bash_completes(script, words, expected, not_expected):
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f"{script('bash')}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _shtab_ingrain; echo ${{COMPREPLY[@]}}"
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert expected <= found
    assert not not_expected & found


def test_the_shells_are_those_of_shtab():
    assert set(SHELLS) == set(shtab.SUPPORTED_SHELLS)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_flag_is_in_the_script(script, shell):
    text = script(shell)
    (commands,) = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert {"serve", "bench", "embed", "doctor", "verify"} <= set(commands.choices)
    for name, parser in commands.choices.items():
        assert name in text
        for action in parser._actions:
            for flag in action.option_strings:
                assert flag.lstrip("-") in text, (name, flag)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_itself_accepts_the_script(script, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    subprocess.run([shell, "-n"], input=script(shell), text=True, check=True)
