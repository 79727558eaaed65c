"""What the tests of pickled weights run in the process that has torch."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingrain.errors import UnsupportedModelError
from ingrain.export.families.table import family_of
from ingrain.export.process.job import ExportJob
from ingrain.export.weights import pickled_weights
from ingrain.vocabulary import Library


def job_of(folder: Path, library: Library) -> ExportJob:
    output = folder.parent / "output"
    output.mkdir(exist_ok=True)
    return ExportJob(name="model", library=library, output=str(output))


def unpickle(folder: Path, library: Library) -> Path:
    return pickled_weights.unpickle(folder, job_of(folder, library), family_of(library).weights)


def converted(folder: Path, library: Library) -> dict[str, list[str]]:
    """Return the tensors of every safetensors file of the copy, by its path."""
    from safetensors.torch import load_file

    copy = unpickle(folder, library)
    return {
        path.relative_to(copy).as_posix(): sorted(load_file(path))
        for path in sorted(copy.rglob("*.safetensors"))
        if not path.is_symlink()
    }


def refusal(folder: Path, library: Library) -> str:
    """Return why a folder's pickle is not read."""
    try:
        unpickle(folder, library)
    except UnsupportedModelError as error:
        return error.message
    return "converted"


def save(content: dict[str, Any] | None, path: Path, *, legacy: bool = False) -> None:
    """Save a checkpoint as PyTorch does; None for two small tensors."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors() if content is None else content, path, _use_new_zipfile_serialization=not legacy)


def tensors() -> dict[str, Any]:
    import torch

    return {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


def save_hostile(path: Path, ran: Path, form: str) -> None:
    """Save a checkpoint that makes the folder ``ran`` where it is loaded as a program."""
    from tiny_pipelines import RunsCode

    if form == "plain":
        path.write_bytes(pickle.dumps(RunsCode(ran)))
    else:
        save(tensors() | {"callback": RunsCode(ran)}, path, legacy=form == "legacy")


def runs_when_trusted(path: Path, ran: Path) -> bool:
    """Load a checkpoint as a program; True where it did what it was made for."""
    import torch

    try:
        torch.load(path, weights_only=False)
    except Exception:  # a plain pickle is no checkpoint, which torch notices only after it was run
        return ran.is_dir()
    return ran.is_dir()


def save_trick(name: str, path: Path) -> None:
    """Save a checkpoint that is none, or that would be far larger than its file."""
    import torch

    TRICKS[name](path, torch)


def _compressed(path: Path, torch: Any) -> None:
    torch.save({"a": torch.zeros(1 << 16)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)


def _script(path: Path, torch: Any) -> None:
    class Doubles(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x

    torch.jit.trace(Doubles(), torch.zeros(1)).save(str(path))


def _truncated(path: Path, torch: Any) -> None:
    torch.save(tensors(), path)
    path.write_bytes(path.read_bytes()[:-400])


def _many_names(path: Path, torch: Any) -> None:
    tensor = torch.zeros(1 << 16)
    torch.save({str(number): tensor for number in range(100)}, path)


TRICKS: dict[str, Callable[[Path, Any], None]] = {
    "compressed": _compressed,
    "TorchScript": _script,
    "cut short": _truncated,
    "empty": lambda path, torch: path.write_bytes(b""),
    "a list": lambda path, torch: torch.save([torch.ones(1)], path),
    "a number": lambda path, torch: torch.save({"a": torch.ones(1), "epoch": 3}, path),
    "sparse": lambda path, torch: torch.save({"a": torch.eye(3).to_sparse()}, path),
    "without memory": lambda path, torch: torch.save({"a": torch.ones(2, device="meta")}, path),
    "one number, a million times": lambda path, torch: torch.save({"a": torch.ones(1).expand(1 << 20)}, path),
    "one tensor, a hundred names": _many_names,
}


def shard(folder: Path) -> None:
    """Save two tensors in a shard each, with their index."""
    names = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    for name, file in names.items():
        save({name: tensors()[name]}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def tied_weights_come_apart(folder: Path) -> bool:
    """Convert a checkpoint with two names of one tensor, one of a part of it, and one of its mirror."""
    import torch
    from safetensors.torch import load_file

    tensor = torch.arange(12.0).reshape(3, 4)
    saved = {"tied": tensor, "tied.too": tensor, "row": tensor[1], "mirror": tensor.T}
    save({"state_dict": saved}, folder / "open_clip_pytorch_model.bin")
    read = load_file(unpickle(folder, "open_clip") / "open_clip_model.safetensors")
    return read.keys() == saved.keys() and all(torch.equal(read[name], saved[name]) for name in saved)
