import ast
import importlib.metadata
import importlib.util
from pathlib import Path

import pytest

from ingrain.errors import InvalidRequestError
from ingrain.sources.model_source import SourceSpec
from ingrain.sources.names import BARE_NAMES, check_revision, hub_id, needs_registry
from ingrain.vocabulary import Library


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("intfloat/e5-small-v2", "intfloat/e5-small-v2"),
        ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("bert-base-uncased", "bert-base-uncased"),
        ("BERT-base-uncased", "BERT-base-uncased"),
        ("distilgpt2", "distilgpt2"),
    ],
)
def test_bare_names_mean_what_the_source_library_means(name: str, expected: str) -> None:
    assert hub_id(name, "sentence_transformers") == expected


def test_bare_names_are_those_of_the_source_library() -> None:
    """Read from the library's text, for importing it takes seconds."""
    package = importlib.util.find_spec("sentence_transformers")
    assert package is not None
    assert package.origin is not None
    tree = ast.parse((Path(package.origin).parent / "util" / "misc.py").read_text())
    (names,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ORIGINAL_TRANSFORMER_MODELS"
    ]
    assert frozenset(names) == BARE_NAMES


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b/c",
        "/a",
        "a/",
        "../a",
        "a b",
        "a--b",
        "a..b",
        "a.git",
        ".a",
        "a\0",
        "a\n",
        "ünï/code",
        "x" * 97,
        "a?b",
        "a#b",
    ],
)
def test_nonsense_is_no_hub_id(name: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        hub_id(name, "sentence_transformers")
    assert caught.value.param == "name"


@pytest.mark.parametrize(
    "name", ["timm/resnet50.a1_in1k", "hf-hub:timm/resnet50.a1_in1k", "hf_hub:timm/resnet50.a1_in1k"]
)
def test_names_of_timm_with_an_organization_are_ids_on_the_hub(name: str) -> None:
    assert hub_id(name, "timm") == "timm/resnet50.a1_in1k"


@pytest.mark.parametrize("name", ["hf-hub:", "hf-hub:../x", "org/model/file", "a b/c"])
def test_nonsense_is_no_name_of_timm(name: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        hub_id(name, "timm")
    assert caught.value.param == "name"


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/12", "feature/a_b", "a" * 40, "release@2", "1.0+cu"])
def test_branches_tags_and_commits_are_revisions(revision: str) -> None:
    check_revision(revision)


@pytest.mark.parametrize(
    "revision",
    ["", "..", "../main", "a/../b", "/main", "a//b", "main/", ".hidden", "a b", "a\0", "a\n", "a\\b", "x" * 256],
)
def test_revisions_that_could_climb_are_refused(revision: str) -> None:
    """A revision is a path in the hub's cache."""
    with pytest.raises(InvalidRequestError):
        check_revision(revision)


@pytest.mark.parametrize(
    ("library", "name", "expected"),
    [
        ("sentence_transformers", "all-MiniLM-L6-v2", False),
        ("timm", "resnet50", True),
        ("timm", "timm/resnet50.a1_in1k", False),
        ("timm", "hf-hub:timm/resnet50.a1_in1k", False),
        ("open_clip", "ViT-B/32", True),
        ("open_clip", "hf-hub:org/model", False),
        ("open_clip", "local-dir:model", False),
    ],
)
def test_a_library_without_an_index_is_imported_only_for_names_of_its_own(
    library: Library, name: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing torch takes seconds, in which nobody is told that the hub cannot be reached."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.1")
    assert needs_registry(SourceSpec(name=name, library=library, output="-")) is expected
