"""Compares two loads of a model; refuses models whose vectors depend on tensors that come from no file.

Libraries fill missing weights with random numbers, constants or uninitialized memory. Source and graph would agree on
these weights, but the next load would give other vectors. So a model is loaded twice, the second time with other random
numbers and with uninitialized memory set to NaN. Tensors that differ, or that the library reports as missing, come from
no file. To find out whether they matter, their values are changed and the vectors compared: an unused pooler, for
example, does not matter.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.export.model_files import unsupported
from ingrain.export.weights.computed_buffers import restore_buffers
from ingrain.export.weights.keep_loaded import loaded_weights_kept
from ingrain.export.weights.load_report import (
    Loaded,
    lacking,
    name_some,
    refuse_misfits,
    refuse_unused_layers,
    reported,
)
from ingrain.machine_faults import raise_if_machines

PROBES = ("a river runs to the sea, slowly", "stone")
_TRIED = 4
_NAN = float("nan")

Probe = Callable[[], list[NDArray[np.float32]]]
"""Computes the loaded network's vectors for a few inputs of every kind that the model accepts."""


class IndependentLoads:
    """Watches the loads of one model: keeps a digest of each tensor of the first load and compares later loads."""

    def __init__(self) -> None:
        self._digests: dict[str, bytes] = {}
        self._vectors: list[NDArray[np.float32]] | None = None
        self._count = 0

    @contextmanager
    def watch(self) -> Iterator[list[Loaded]]:
        """Record the networks that are loaded while the context is open; yields the list of them.

        Raises:
            UnsupportedModelError: The library failed on tensors that do not fit.
        """
        import torch

        self._count += 1
        with (
            torch.random.fork_rng(devices=[]),
            _unset_memory_as_nan(self._count > 1),
            loaded_weights_kept(),
            reported() as networks,
        ):
            torch.manual_seed(self._count)
            try:
                yield networks
            except Exception as error:
                raise_if_machines(error)
                refuse_misfits(networks, error)
                raise
            networks[:] = [_restored(loaded) for loaded in networks]

    def check(self, model: Any, networks: list[Loaded], probe: Probe) -> None:
        """Raise if the loaded model's vectors depend on values that are not from its files."""
        refuse_unused_layers(networks)
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        missing = _not_from_files(tensors, model, networks)
        digests = {name: _digest(tensor) for name, tensor in tensors.items() if name not in missing}
        differing = {name for name in digests if digests[name] != self._digests.get(name, digests[name])}
        self._digests = self._digests or digests
        if reaching := _reaching({name: tensors[name] for name in missing}, probe):
            raise lacking(_short(reaching, tensors, networks))
        if reaching := _reaching({name: tensors[name] for name in differing}, probe):
            raise unsupported(
                "The model's vectors depend on tensors that differ each time it is loaded, because neither its files "
                f"nor its code set them: {name_some(_short(reaching, tensors, networks))}."
            )
        # Tensors that are neither parameters nor buffers show in the vectors only.
        vectors = probe()
        self._vectors = self._vectors or vectors
        if not _equal(vectors, self._vectors):
            raise unsupported(
                "The model gives other vectors each time it is loaded, although its weights are the same: its code "
                "uses random numbers or uninitialized memory."
            )


def probe_pixels(height: int, width: int) -> NDArray[np.float32]:
    """Return prepared pixels of a colour gradient, float32 ``[1, 3, H, W]``."""
    return np.linspace(-1, 1, 3 * height * width, dtype=np.float32).reshape(1, 3, height, width)


def _restored(loaded: Loaded) -> Loaded:
    if not loaded.transformers:
        return loaded
    return replace(loaded, missing=loaded.missing - restore_buffers(loaded))


def _not_from_files(tensors: dict[str, Any], model: Any, networks: list[Loaded]) -> set[str]:
    """Return the names of weights that no loaded network got from a file; tied weights count as one tensor."""
    given = {
        id(tensor)
        for loaded in networks
        for name, tensor in (
            *loaded.network.named_parameters(remove_duplicate=False),
            *loaded.network.named_buffers(remove_duplicate=False),
        )
        if name not in loaded.missing | loaded.mismatched
    }
    return {name for name in tensors.keys() & model.state_dict().keys() if id(tensors[name]) not in given}


def _reaching(tensors: dict[str, Any], probe: Probe) -> set[str]:
    """Return the names of tensors that affect the vectors; all names if more than a few do.

    If none does, all tensors stay NaN, so that a vector of another input that depends on one becomes NaN.
    """
    together = list(tensors.values())
    if not together or not _change(together, probe):
        _fill(together, _NAN)
        return set()
    found: set[str] = set()
    for name in sorted(tensors):
        if len(found) == _TRIED:
            return set(tensors)
        if _change([tensors[name]], probe):
            found.add(name)
    return found or set(tensors)


def _change(tensors: list[Any], probe: Probe) -> bool:
    """Return True if the vectors for tensors of NaN differ from those for ones; the tensors stay ones."""
    vectors = []
    for number in (_NAN, 1.0):
        _fill(tensors, number)
        try:
            vectors.append(probe())
        except Exception as error:  # a network raises exceptions of many kinds, such as for a bad position id
            raise_if_machines(error)
            traceback.print_exc()
            _fill(tensors, 1.0)
            return True
    return not _equal(*vectors, equal_nan=False)


def _equal(some: list[NDArray[np.float32]], others: list[NDArray[np.float32]], *, equal_nan: bool = True) -> bool:
    return all(
        np.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=equal_nan)
        for one, other in zip(some, others, strict=True)
    )


def _fill(tensors: list[Any], number: float) -> None:
    for tensor in tensors:
        tensor.fill_(number if tensor.is_floating_point() else np.nan_to_num(number))


def _digest(tensor: Any) -> bytes:
    import torch

    return hashlib.sha256(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()).digest()


def _short(names: set[str], tensors: dict[str, Any], networks: list[Loaded]) -> set[str]:
    """Return the names that tensors have in the model's files."""
    in_files = {
        id(tensor): name
        for loaded in networks
        for name, tensor in (*loaded.network.named_parameters(), *loaded.network.named_buffers())
    }
    return {in_files.get(id(tensors[name]), name) for name in names}


@contextmanager
def _unset_memory_as_nan(wanted: bool) -> Iterator[None]:
    """If wanted, make torch fill uninitialized memory with NaN (integers: the largest value)."""
    import torch

    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(wanted or before[0], warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
