"""What `ingrain verify` tells of a model that was made with code."""

import msgspec

from ingrain.cli.verify import _text
from ingrain.repository.manifest import Manifest


def test_the_repository_the_commit_and_the_files_are_told():
    told = {"name": "org/model", "library": "sentence_transformers", "architecture": "NewModel", "created_at": ""}
    file = {"path": "modeling.py", "size_bytes": 3, "sha256": "0" * 64}
    code = [
        {"repository": "org/code", "commit": "c" * 40, "files": [file]},
        {"repository": "mine", "commit": None, "files": [file]},
    ]
    manifest = msgspec.convert(told | {"versions": {}, "embedding_size": 1, "graphs": [], "code": code}, Manifest)
    _, first, second = _text(manifest).splitlines()
    assert first.strip() == f"made with code of org/code at {'c' * 40}: modeling.py"
    assert second.strip() == "made with code of mine in its folder: modeling.py"
