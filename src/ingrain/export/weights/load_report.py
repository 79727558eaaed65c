"""Records, while a library loads a network, which of its tensors came from the model's files."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from ingrain.errors import UnsupportedModelError
from ingrain.export.model_files import unsupported

_NAMED = 3
# Buffers that older versions of the libraries wrote into every layer's weights, and newer ones compute.
_COMPUTED = ("inv_freq", "position_ids", "masked_bias")
_FIRST_NUMBER = re.compile(r"^(.*?\.)?\d+\.")


@dataclass(frozen=True, slots=True)
class Loaded:
    """One network that a library filled from files.

    Attributes:
        network: The ``torch.nn.Module``.
        missing: Names of its tensors that the files do not hold.
        mismatched: Names of those that have another shape there.
        unexpected: Names that the files hold, and the network does not have.
        transformers: True where transformers filled it, which makes up what is missing.
    """

    network: Any
    missing: frozenset[str] = frozenset()
    mismatched: frozenset[str] = frozenset()
    unexpected: frozenset[str] = frozenset()
    transformers: bool = False


@contextmanager
def reported() -> Iterator[list[Loaded]]:
    """Yield a list that grows by every network that is loaded while the context is open."""
    import torch

    networks: list[Loaded] = []
    with ExitStack() as stack:
        fill = _noting_load_state_dict(torch.nn.Module.load_state_dict, networks)
        stack.enter_context(mock.patch.object(torch.nn.Module, "load_state_dict", fill))
        # It has no load_state_dict. Whoever uses it has imported it.
        if modeling := sys.modules.get("transformers.modeling_utils"):
            name = "_adjust_missing_and_unexpected_keys"
            adjust = _noting_report(getattr(modeling.PreTrainedModel, name), networks)
            stack.enter_context(mock.patch.object(modeling.PreTrainedModel, name, adjust))
        yield networks


def refuse_misfits(networks: list[Loaded], error: BaseException) -> None:
    """Name the tensors, where the last network that was filled is why a library gave up.

    Raises:
        UnsupportedModelError: The files lack tensors, or have others or of another shape than the network.
    """
    if not networks:
        return
    last = networks[-1]
    if last.mismatched:
        raise unsupported(
            f"The model's weights have another shape than its configuration says: {name_some(last.mismatched)}."
        ) from error
    if last.missing and not last.transformers:
        raise lacking(last.missing) from error
    if last.unexpected and not last.transformers:
        raise _another_network(last.unexpected) from error


def refuse_unused_layers(networks: list[Loaded]) -> None:
    """Refuse weights of which a part is left out that belongs to the layers in use.

    A head that the library has no need of (``cls.predictions``, a pooler, a decoder) is left out of many models.
    A tensor of a stack of layers is not: the network that was trained had more layers than this one, or other ones.
    """
    for loaded in networks:
        prefix = f"{getattr(loaded.network, 'base_model_prefix', '')}."
        stacks = {_stack(name) for name in loaded.network.state_dict()} - {None}
        computed = {name for name, _ in loaded.network.named_buffers(remove_duplicate=False)}
        ignored = _ignored_by_class(loaded.network)
        unused = {
            name
            for name in loaded.unexpected
            if _stack(name.removeprefix(prefix)) in stacks
            and name.rpartition(".")[2] not in _COMPUTED
            and name.removeprefix(prefix) not in computed
            and not any(pattern.search(name) for pattern in ignored)
        }
        if unused:
            raise _another_network(unused)


def lacking(names: set[str] | frozenset[str]) -> UnsupportedModelError:
    """Return the error for tensors that no file of the model gives."""
    return unsupported(
        f"The model's weights lack tensors that its vectors depend on: {name_some(names)}. Files are missing, or they "
        "belong to another configuration."
    )


def name_some(names: set[str] | frozenset[str]) -> str:
    """Return a few names, and how many more there are."""
    ordered = sorted(names)
    some = ", ".join(map(repr, ordered[:_NAMED]))
    return some if len(ordered) <= _NAMED else f"{some} and {len(ordered) - _NAMED} more"


def _another_network(names: set[str] | frozenset[str]) -> UnsupportedModelError:
    return unsupported(
        f"The model's weights hold tensors that the network of its configuration has no place for: {name_some(names)}."
    )


def _ignored_by_class(network: Any) -> list[re.Pattern[str]]:
    """Return what transformers' own class knows to lie in older files, such as GPT-2's masks (``h.0.attn.bias``)."""
    if not type(network).__module__.startswith("transformers.models."):
        return []
    return [re.compile(pattern) for pattern in getattr(network, "_keys_to_ignore_on_load_unexpected", None) or ()]


def _stack(name: str) -> str | None:
    """Return what stands before the first number: ``encoder.layer.`` of ``encoder.layer.3.output.dense.bias``."""
    found = _FIRST_NUMBER.match(name)
    return None if found is None else found[1] or ""


def _noting_load_state_dict(load_state_dict: Any, networks: list[Loaded]) -> Any:
    def load(network: Any, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        own = network.state_dict()
        mismatched = {name for name in own.keys() & state_dict.keys() if _shape(own[name]) != _shape(state_dict[name])}
        networks.append(Loaded(network, mismatched=frozenset(mismatched)))
        result = load_state_dict(network, state_dict, strict=False, assign=assign)
        missing, unexpected = frozenset(result.missing_keys), frozenset(result.unexpected_keys)
        networks[-1] = Loaded(network, missing=missing, unexpected=unexpected)
        if strict and (missing or unexpected):
            raise RuntimeError(f"{type(network).__name__}: missing {sorted(missing)}, unexpected {sorted(unexpected)}")
        return result

    return load


def _noting_report(adjust: Any, networks: list[Loaded]) -> Any:
    def note(network: Any, report: Any) -> None:
        # As it was found: the library leaves out what it thinks of no importance, which the vectors shall tell.
        missing = frozenset(report.missing_keys)
        adjust(network, report)
        mismatched = frozenset(name for name, *_ in report.mismatched_keys)
        networks.append(Loaded(network, missing, mismatched, frozenset(report.unexpected_keys), transformers=True))

    return note


def _shape(value: Any) -> tuple[int, ...] | None:
    shape = getattr(value, "shape", None)  # a module's extra state is no tensor
    return None if shape is None else tuple(shape)
