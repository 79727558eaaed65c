"""Converts pickled weights to safetensors without running code.

A pickle is a program; most pickles on the hub only list tensors. PyTorch's restricted reader (``weights_only``) accepts
only these, and stops at the first name that it does not know. Only this module reads pickles; the source libraries get
safetensors.
"""

from __future__ import annotations

import errno
import json
import shutil
import traceback
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingrain.errors import UnsupportedModelError
from ingrain.export.families.protocol import WeightFiles
from ingrain.export.model_files import unsupported
from ingrain.export.process.job import ExportJob
from ingrain.libraries import LIBRARIES
from ingrain.machine_faults import raise_if_machines
from ingrain.sources.files import used_files
from ingrain.sources.local import link_files, list_files

UNPICKLED_FOLDER = "unpickled"
"""Subfolder of the job's output with a copy of the model's folder that has safetensors in place of pickles."""

_SHARDS = "pytorch_model.bin.index.json"
_ARCHIVE = b"PK\x03\x04"  # PyTorch, too, distinguishes its two file formats by this signature
_DTYPES = {"float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"}
# Tied weights are stored once under several names. No model has more copies than this; an attack could fill the disk.
_MOST_COPIES = 16


def unpickle(folder: Path, job: ExportJob, weights: WeightFiles) -> Path:
    """Return the folder itself, or a copy made of links with safetensors in place of its pickles.

    Args:
        folder: The model's folder.
        job: Says whether pickles may be read; the copy goes to its output folder.
        weights: The weight files that the source library reads.

    Raises:
        UnsupportedModelError: A pickle is damaged or contains anything but tensors.
        OSError: The disk is full or fails.
    """
    paths = used_files(list_files(folder))
    pickles = _pickles(folder, paths, weights) if job.pickled_weights else []
    if not pickles:
        return folder
    # Keep the folder's name, because transformers caches a model's custom code under it.
    copy = Path(job.output) / UNPICKLED_FOLDER / folder.name
    link_files(folder, (path for path in paths if path not in pickles), copy)
    for path in pickles:
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(_SHARDS):
            _convert_shards(folder, path, copy, weights)
        else:
            _convert(folder, path, (copy / path).with_name(LIBRARIES[job.library].weights_file), weights)
    return copy


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a pickle by name, without running code.

    Raises:
        UnsupportedModelError: The pickle is damaged or contains anything but tensors.
    """
    return _tensors(_load(path.resolve(), path.name), path.name, WeightFiles(names=()))


def _pickles(folder: Path, paths: list[str], weights: WeightFiles) -> list[str]:
    """Return the pickles and indexes of pickles that the library would read, relative to the model's folder."""
    found = []
    for place in sorted({Path(path).parent for path in paths}):
        # Modules are folders with a config.json; OpenCLIP's root folder has a configuration of another name.
        if place != Path() and not (folder / place / "config.json").is_file():
            continue
        first = next((name for name in weights.names if (folder / place / name).is_file()), "")
        if first and "safetensors" not in first:
            found.append((place / first).as_posix())
    return found


def _convert_shards(folder: Path, index: str, copy: Path, weights: WeightFiles) -> None:
    try:
        shards = sorted(set(json.loads((folder / index).read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unsupported(f"The model's {index!r} cannot be read.") from error
    weight_map: dict[str, str] = {}
    for shard in shards:
        if not isinstance(shard, str) or "/" in shard or not (folder / index).with_name(shard).is_file():
            raise unsupported(f"The model's {index!r} names {shard!r}, which does not exist.")
        path = Path(index).with_name(shard)
        written = path.with_suffix(".safetensors")
        weight_map |= dict.fromkeys(_convert(folder, path.as_posix(), copy / written, weights), written.name)
        (copy / path).unlink()
    written_index = (copy / index).with_name("model.safetensors.index.json")
    written_index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def _convert(folder: Path, path: str, written: Path, weights: WeightFiles) -> list[str]:
    """Write one pickle's tensors as safetensors, and return their names."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    source = (folder / path).resolve()
    tensors = _tensors(_load(source, path), path, weights)
    size_bytes = sum(tensor.nbytes for tensor in tensors.values())
    if size_bytes > _MOST_COPIES * source.stat().st_size:
        raise unsupported(f"The model's {path!r} names tensors of {size_bytes} bytes, but is far smaller.")
    if shutil.disk_usage(written.parent).free < size_bytes:
        raise OSError(errno.ENOSPC, "not enough space for the weights as safetensors")
    try:
        save_file(_apart(tensors), written, metadata={"format": "pt"})
    except SafetensorError as error:  # the tensors have been checked, so the disk is the cause
        raise_if_machines(error)
        raise OSError(errno.EIO, "the weights could not be written as safetensors") from error
    return list(tensors)


def _load(source: Path, shown: str) -> Any:
    """Read a pickle without running code; archives are memory-mapped."""
    import torch

    with source.open("rb") as file:
        is_archive = file.read(4) == _ARCHIVE
    try:
        if is_archive:
            _check_archive(source, shown)
        return torch.load(source, map_location="cpu", weights_only=True, mmap=is_archive)
    except (OSError, MemoryError, UnsupportedModelError):
        raise
    except Exception as error:  # the reader raises exceptions of many kinds
        raise_if_machines(error)
        traceback.print_exc()
        raise unsupported(
            f"The model's {shown!r} is damaged, or a pickle that holds more than tensors{_foreign(source)}. Anything "
            "else in a pickle is code, which is never run. Name a revision that has safetensors or, if you trust the "
            "file, convert it to safetensors."
        ) from error


def _check_archive(source: Path, shown: str) -> None:
    """Refuse TorchScript programs, and archives that are larger in memory than on disk."""
    with zipfile.ZipFile(source) as archive:
        members = archive.infolist()
    names = [Path(member.filename) for member in members]
    if any(name.name == "constants.pkl" or "code" in name.parts[1:-1] for name in names):
        raise unsupported(
            f"The model's {shown!r} is a TorchScript archive, which is a program; convert to safetensors."
        )
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if packed or sum(member.file_size for member in members) > source.stat().st_size:
        raise unsupported(f"The model's {shown!r} is compressed, unlike PyTorch's own files, and is not read.")


def _foreign(source: Path) -> str:
    """Return the names that a pickle would have called, for the message, without calling them."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        names = get_unsafe_globals_in_checkpoint(source)
    except Exception:  # the pickle is damaged
        return ""
    return f" ({', '.join(map(repr, sorted(names)[:3]))})" if names else ""


def _tensors(content: Any, shown: str, weights: WeightFiles) -> dict[str, Any]:
    """Return the tensors by name; raise if there is anything else."""
    import torch

    if isinstance(content, Mapping):
        content = next((content[key] for key in weights.wrappers if content.get(key) is not None), content)
    if not isinstance(content, Mapping) or not content:
        raise unsupported(f"The model's {shown!r} does not hold tensors by name, but a {type(content).__name__!r}.")
    for name, value in content.items():
        plain = (
            isinstance(name, str)
            and type(value) in (torch.Tensor, torch.nn.Parameter)
            and value.layout == torch.strided
            and value.device.type == "cpu"
            and str(value.dtype).removeprefix("torch.") in _DTYPES
            # No expanded tensor: a single stored number would become a huge file.
            and value.nbytes <= value.untyped_storage().nbytes()
        )
        if not plain:
            raise unsupported(
                f"The model's {shown!r} holds more than plain tensors: {str(name)[:100]!r} is none. If you trust the "
                "file, convert it to safetensors."
            )
    return {name: value.detach() for name, value in content.items()}


def _apart(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return tensors that share no memory, as safetensors requires; tied weights are copied."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone().contiguous() if place in seen else tensor.contiguous()
        seen.add(place)
    return apart
