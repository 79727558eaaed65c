"""Types of single fields of requests, with what the documentation says of each."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from ingrain.vocabulary import Library, Precision, Task

Name = Annotated[str, Meta(min_length=1, max_length=512, description="What the source library calls the model.")]
Texts = Annotated[
    str | Annotated[list[str], Meta(min_length=1)],
    Meta(description="One text or several; the answer has one vector for each, in order."),
]
OptionalTexts = Annotated[Texts | None, Meta(description="One text or several; null for none.")]
Normalize = Annotated[bool | None, Meta(description="Bring each vector to unit length (default true).")]
NDims = Annotated[
    Annotated[int, Meta(ge=1)] | None,
    Meta(description="Keep only the first dimensions, before normalizing; all if not given."),
]
LibraryField = Annotated[Library | None, Meta(description="Source library, where several models share a name.")]
Word = Annotated[str, Meta(min_length=1, max_length=256)]
Pretrained = Annotated[Word | None, Meta(description="Weight tag of an OpenCLIP model.")]
Revision = Annotated[Word | None, Meta(description="Branch, tag or commit on the hub.")]
PrecisionField = Annotated[
    Precision | None,
    Meta(
        description="What the graphs compute in: `fp32`, `fp16` (on a GPU), `int8` or `int8-safe` (text encoders, on a "
        "CPU). A model that is stored in another precision is made anew. Not given: INGRAIN_PRECISION; without that, a "
        "stored model as it is and a new one in fp32."
    ),
]
TaskField = Annotated[
    Task | None,
    Meta(
        description="timm models: `embed` makes an embedder of a classifier's weights, as `timm.create_model(…, "
        "num_classes=0)`; `classify` wants a classifier. A model that is stored for the other task is made anew. Not "
        "given: a stored model as it is, and a new one as its weights are."
    ),
]
NumClasses = Annotated[Literal[0] | None, Meta(description="timm models: 0 is `task` `embed`, in timm's words.")]

Prompt = Annotated[
    str | None,
    Meta(description="Put before every text; empty for no prompt, not even the model's default."),
]
PromptName = Annotated[
    Word | None, Meta(description="Name of one of the model's own prompts, to put before every text (`query`).")
]
InputType = Annotated[
    Literal["query", "document"] | None,
    Meta(description="What the texts are, as `encode_query` and `encode_document` have it: their prompt, if any."),
]
Truncate = Annotated[
    bool | None, Meta(description="False to refuse a text that is longer than the model takes (default true: cut it).")
]
TokenCounts = Annotated[
    bool | None, Meta(description="True to be told each text's number of tokens, and whether it was cut.")
]
OutputDtype = Annotated[
    Literal["float", "int8", "uint8", "binary", "ubinary"] | None,
    Meta(
        description="What the numbers become, as sentence-transformers quantizes them (default float): bytes within "
        "ranges measured when the model was exported, or one bit a dimension, eight in a byte."
    ),
]
EncodingFormat = Annotated[
    Literal["float", "base64"] | None,
    Meta(description="How a vector is written in JSON (default float): numbers, or base64 of them, little-endian."),
]

Images = Annotated[
    str | Annotated[list[str], Meta(min_length=1)],
    Meta(
        description="One picture or several: http(s) URL, data URI or base64 of a JPEG, PNG, WebP, GIF, BMP, TIFF or "
        "AVIF file, or of HEIC with `ingrain[heic]`. As multipart/form-data, the files themselves in fields called "
        "`image`."
    ),
]
OptionalImages = Annotated[Images | None, Meta(description="Pictures as in /embed_image; null for none.")]
Headers = Annotated[
    dict[str, str] | None,
    Meta(
        description="Headers to fetch image URLs with: Authorization, Accept, Accept-Language, Cookie, Referer, "
        "User-Agent. They are never sent to another host than the URL's."
    ),
]
