"""Records which tensors of a network came from the model's files while a library loads it."""

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
# Buffers that older versions of the libraries stored with every layer's weights, and newer ones compute.
_COMPUTED = ("inv_freq", "position_ids", "masked_bias")
_FIRST_NUMBER = re.compile(r"^(.*?\.)?\d+\.")


@dataclass(frozen=True, slots=True)
class Loaded:
    """One network that a library filled from files.

    Attributes:
        network: The ``torch.nn.Module``.
        missing: Names of its tensors that are not in the files.
        mismatched: Names of its tensors that have another shape in the files.
        unexpected: Names in the files that the network does not have.
        transformers: True if transformers filled the network; it initializes missing tensors itself.
    """

    network: Any
    missing: frozenset[str] = frozenset()
    mismatched: frozenset[str] = frozenset()
    unexpected: frozenset[str] = frozenset()
    transformers: bool = False


@contextmanager
def reported() -> Iterator[list[Loaded]]:
    """Yield a list to which every network is added that is loaded while the context is open."""
    import torch

    networks: list[Loaded] = []
    with ExitStack() as stack:
        fill = _noting_load_state_dict(torch.nn.Module.load_state_dict, networks)
        stack.enter_context(mock.patch.object(torch.nn.Module, "load_state_dict", fill))
        # transformers does not use load_state_dict. If it is used, it has been imported by now.
        if modeling := sys.modules.get("transformers.modeling_utils"):
            name = "_adjust_missing_and_unexpected_keys"
            adjust = _noting_report(getattr(modeling.PreTrainedModel, name), networks)
            stack.enter_context(mock.patch.object(modeling.PreTrainedModel, name, adjust))
        yield networks


def refuse_misfits(networks: list[Loaded], error: BaseException) -> None:
    """Raise an error that names the tensors if a library failed because weights do not fit the last network.

    Raises:
        UnsupportedModelError: The files lack tensors, or have additional ones, or some of another shape.
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
    """Refuse weights with unused tensors that belong to a stack of layers in use.

    Unused heads (``cls.predictions``, a pooler, a decoder) are common. An unused tensor in a stack of layers means that
    the trained network had more or other layers than this one.
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
    """Return the error for tensors that are in no file of the model."""
    return unsupported(
        f"The model's weights lack tensors that its vectors depend on: {name_some(names)}. Files are missing, or they "
        "belong to another configuration."
    )


def name_some(names: set[str] | frozenset[str]) -> str:
    """Return a few of the names, and the number of the others."""
    ordered = sorted(names)
    some = ", ".join(map(repr, ordered[:_NAMED]))
    return some if len(ordered) <= _NAMED else f"{some} and {len(ordered) - _NAMED} more"


def _another_network(names: set[str] | frozenset[str]) -> UnsupportedModelError:
    return unsupported(
        f"The model's weights hold tensors that the network of its configuration has no place for: {name_some(names)}."
    )


def _ignored_by_class(network: Any) -> list[re.Pattern[str]]:
    """Return patterns of tensors in older files that transformers' class ignores, like GPT-2's ``h.0.attn.bias``."""
    if not type(network).__module__.startswith("transformers.models."):
        return []
    return [re.compile(pattern) for pattern in getattr(network, "_keys_to_ignore_on_load_unexpected", None) or ()]


def _stack(name: str) -> str | None:
    """Return the prefix before the first number: ``encoder.layer.`` for ``encoder.layer.3.output.dense.bias``."""
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
        # Read before `adjust` removes tensors that the library considers unimportant; the vectors decide that here.
        missing = frozenset(report.missing_keys)
        adjust(network, report)
        mismatched = frozenset(name for name, *_ in report.mismatched_keys)
        networks.append(Loaded(network, missing, mismatched, frozenset(report.unexpected_keys), transformers=True))

    return note


def _shape(value: Any) -> tuple[int, ...] | None:
    shape = getattr(value, "shape", None)  # a module's extra state is not a tensor
    return None if shape is None else tuple(shape)
