"""Types of request fields, with their descriptions for the API documentation."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from ingrain.vocabulary import Library, Output, Precision, Task

Name = Annotated[str, Meta(min_length=1, max_length=512, description="Name of the model in its source library.")]
Texts = Annotated[
    str | Annotated[list[str], Meta(min_length=1)],
    Meta(description="One text or a list of texts; the answer has one vector for each, in order."),
]
OptionalTexts = Annotated[Texts | None, Meta(description="One text or a list of texts; null for none.")]
Normalize = Annotated[bool | None, Meta(description="Scale each vector to unit length (default true).")]
NDims = Annotated[
    Annotated[int, Meta(ge=1)] | None,
    Meta(description="Number of leading dimensions to keep, before normalization; all if not given."),
]
LibraryField = Annotated[Library | None, Meta(description="Source library; needed if several models share a name.")]
Word = Annotated[str, Meta(min_length=1, max_length=256)]
Pretrained = Annotated[Word | None, Meta(description="Weight tag of an OpenCLIP model.")]
Revision = Annotated[Word | None, Meta(description="Branch, tag or commit on the hub.")]
PrecisionField = Annotated[
    Precision | None,
    Meta(
        description="Precision of the graphs: `fp32`, `fp16` (on a GPU), `int8` or `int8-safe` (text encoders on a "
        "CPU). A model that is stored in another precision is converted again. Not given: INGRAIN_PRECISION; if that "
        "is not set either, a stored model keeps its precision and a new model is fp32."
    ),
]
TaskField = Annotated[
    Task | None,
    Meta(
        description="What the model is for, if its weights can serve several tasks. sentence-transformers models: "
        "`embed`, `rerank`, `classify`, `embed_sparse`, `embed_multi_vector` or, for vectors of an embedding model's "
        "tokens, `embed_tokens`; the files of the model say what is possible. timm models: `embed` removes "
        "the classifier layer, like `timm.create_model(…, num_classes=0)`; `classify` needs weights with a classifier "
        "layer. A model that is stored for another task is converted "
        "again. Not given: a stored model keeps its task, and that of a new model is found out from its files."
    ),
]
NumClasses = Annotated[Literal[0] | None, Meta(description="timm models: 0 means `task` `embed`, as in timm.")]

Prompt = Annotated[
    str | None,
    Meta(description="Text to prepend to every text; empty to disable the model's default prompt."),
]
PromptName = Annotated[
    Word | None, Meta(description="Name of one of the model's own prompts, to prepend to every text (`query`).")
]
InputType = Annotated[
    Literal["query", "document"] | None,
    Meta(description="Kind of the texts: selects the prompt that `encode_query` or `encode_document` uses."),
]
Truncate = Annotated[
    bool | None, Meta(description="False to refuse a text that is too long for the model (default true: truncate it).")
]
TokenCounts = Annotated[
    bool | None,
    Meta(description="True to add each text's number of tokens, and whether it was truncated, to the answer."),
]
Wait = Annotated[
    bool | None,
    Meta(
        description="False to be answered at once, by 202 with an operation to follow at `/operations/{id}`, and not "
        "when the model is ready (default)."
    ),
]
OutputDtype = Annotated[
    Literal["float", "int8", "uint8", "binary", "ubinary"] | None,
    Meta(
        description="Number type of the vectors (default float), quantized as in sentence-transformers: `int8` and "
        "`uint8` by ranges that were measured at export, `binary` and `ubinary` with one bit for each dimension, eight "
        "bits in a byte."
    ),
]
EncodingFormat = Annotated[
    Literal["float", "base64"] | None,
    Meta(description="Format of a vector in JSON (default float): numbers, or base64 of little-endian numbers."),
]
Outputs = Annotated[
    Annotated[list[Output], Meta(min_length=1)] | None,
    Meta(
        description="What to return of each text, for models with several outputs such as BGE-M3; all are computed at "
        "once. `dense` is in `embeddings`, `sparse` in `sparseEmbeddings`, and `multiVector` in "
        "`multiVectorEmbeddings` with `vectorCounts`. Not given: `embeddings`."
    ),
]

Images = Annotated[
    str | Annotated[list[str], Meta(min_length=1)],
    Meta(
        description="One image or a list of images: http(s) URL, data URI or base64 of a JPEG, PNG, WebP, GIF, BMP, "
        "TIFF or AVIF file; HEIC needs `ingrain[heic]`. In multipart/form-data: files in fields called `image`."
    ),
]
OptionalImages = Annotated[Images | None, Meta(description="Images as in /embed_image; null for none.")]
Headers = Annotated[
    dict[str, str] | None,
    Meta(
        description="Headers for the download of image URLs, such as Authorization; all but those of the connection. "
        "They are sent only to the host of the URL, not to hosts it redirects to."
    ),
]
