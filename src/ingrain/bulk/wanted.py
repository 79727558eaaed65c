"""What a bulk job wants of each item: the model, the kind of vectors, and their form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ingrain.errors import SettingsError
from ingrain.vocabulary import InputType, Library, Output

Items = Literal["texts", "images"]
"""What the input column holds."""

OutputDtype = Literal["float", "int8", "uint8", "binary", "ubinary"]
"""Number type of dense vectors."""

Rows = Any
"""Dense vectors as an array ``[N, D]``; else a list with an item for each text: a sparse vector with ``indices``
(int32) and ``values`` (float32), or its vectors ``float32 [t, D]``."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The vectors that a bulk job computes.

    Attributes:
        model: Name of the model.
        library: Source library, if several models share the name.
        pretrained: Weight tag of an OpenCLIP model.
        items: ``texts`` or ``images``.
        output: ``dense``, ``sparse`` or ``multiVector``.
        input_type: Side of the search of the texts.
        prompt_name: Name of one of the model's prompts.
        prompt: The prompt itself; empty for none at all.
        truncate: False to refuse texts that are longer than the model takes.
        normalize: True for vectors of unit length.
        dimensions: Number of leading dimensions to keep; None for all.
        output_dtype: Number type of dense vectors.
        top_k: Number of entries of largest weight of a sparse vector; None for all.
        min_weight: Least weight of an entry of a sparse vector.
        skip_bad_images: True to give images that cannot be fetched or read no vector, instead of ending with the error.
    """

    model: str
    library: Library | None = None
    pretrained: str | None = None
    items: Items = "texts"
    output: Output = "dense"
    input_type: InputType | None = None
    prompt_name: str | None = None
    prompt: str | None = None
    truncate: bool = True
    normalize: bool = True
    dimensions: int | None = None
    output_dtype: OutputDtype = "float"
    top_k: int | None = None
    min_weight: float = 0.0
    skip_bad_images: bool = False

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            SettingsError: Some do not.
        """
        if self.prompt is not None and self.prompt_name is not None:
            raise SettingsError("Give a prompt or the name of one, not both.", param="prompt")
        if self.items == "images":
            if self.output != "dense":
                raise SettingsError("Images have dense vectors only.", param="output")
            if (self.input_type, self.prompt_name, self.prompt) != (None, None, None):
                raise SettingsError("Prompts and input types are for texts, not for images.", param="prompt")
        if self.output != "dense" and self.output_dtype != "float":
            raise SettingsError("Only dense vectors come in other number types.", param="output_dtype")
        if self.output == "sparse" and self.dimensions is not None:
            raise SettingsError("Sparse vectors keep all dimensions; use top_k.", param="dimensions")
        if self.output != "sparse" and (self.top_k is not None or self.min_weight):
            raise SettingsError("top_k and min_weight are for sparse vectors.", param="top_k")


class Found(msgspec.Struct, frozen=True):
    """The vectors of some items.

    Attributes:
        rows: The vectors of the items that have one, in order.
        bad: Indices of the images that have none.
    """

    rows: Rows
    bad: Sequence[int] = ()
