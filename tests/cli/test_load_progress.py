"""What is shown of a load while it goes on, by what the server says of it; the server is a fake with a script."""

import io
import time
from types import SimpleNamespace

import pytest

from ingrain.cli import progress
from ingrain.cli.progress import shown_progress
from ingrain.errors import ServerUnreachableError
from ingrain.repository.models_to_load import ModelRef

REF = ModelRef(name="org/model", library="sentence_transformers")
REASONS = [
    "it is being loaded.",
    "it is being loaded, phase download, 12.0 of 90.0 MB (13 %).",
    "it is being loaded, phase download, 80.0 of 90.0 MB (88 %).",
    None,
    "it is being loaded, phase export (25 %).",
    "it is being loaded, phase verify.",
]


class Script:
    """A client whose list of models has another reason each time; None stands for a server that does not answer."""

    def __init__(self) -> None:
        self.waiting = list(REASONS)

    def repository_models(self):
        reason = self.waiting.pop(0) if self.waiting else None
        if reason is None:
            raise ServerUnreachableError("gone")
        other = SimpleNamespace(name="other", pretrained=None, reason="it is being loaded, phase read.")
        return SimpleNamespace(models=[other, SimpleNamespace(name=REF.name, pretrained=None, reason=reason)])


def shown(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool) -> str:
    stderr, script = io.StringIO(), Script()
    stderr.isatty = lambda: is_terminal
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setattr(progress, "_POLL_EVERY_S", 0.001)
    with shown_progress(script, REF, "Loading org/model"):
        deadline = time.monotonic() + 30
        while script.waiting and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.1)
    return stderr.getvalue()


def test_without_a_terminal_each_phase_is_a_line(monkeypatch):
    assert shown(monkeypatch, is_terminal=False).splitlines() == [
        f"Loading org/model: {phase}" for phase in ("loading", "downloading", "converting", "proving")
    ]


def test_on_a_terminal_one_line_has_the_amounts_and_is_gone_in_the_end(monkeypatch):
    text = shown(monkeypatch, is_terminal=True)
    for state in ("Loading org/model ...", "downloading, 12.0 of 90.0 MB (13 %) [", "converting (25 %) [", "waiting ["):
        assert state in text
    assert text.endswith("\r\033[K")
    assert "\n" not in text
