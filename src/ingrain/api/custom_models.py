"""The body of a request to download a custom model."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from ingrain.api.fields import Name, Word
from ingrain.api.image_steps import Interpolation
from ingrain.api.types import Request
from ingrain.vocabulary import Library

Url = Annotated[str, Meta(min_length=1, max_length=8192)]


class DownloadCustomModelRequest(Request, frozen=True, kw_only=True):
    """A model to download from URLs. The library determines which fields apply; the others are refused."""

    name: Annotated[
        Name,
        Meta(
            description="Name for the model. Without `configJsonUrl` it is also the architecture of the weights in "
            "OpenCLIP (`ViT-B-32`) or timm (`resnet50`)."
        ),
    ]
    library: Annotated[Library, Meta(description="Source library.")]
    safetensors_url: Annotated[Url, Meta(description="The weights as one safetensors file.")]
    pretrained: Annotated[
        Word | None, Meta(description="OpenCLIP: a weight tag of your choice; send it again to load the model.")
    ] = None
    config_json_url: Annotated[
        Url | None,
        Meta(
            description="sentence-transformers: the network's `config.json`. OpenCLIP: `open_clip_config.json`. "
            "timm: `config.json`."
        ),
    ] = None
    tokenizer_json_url: Annotated[Url | None, Meta(description="Text models: `tokenizer.json`.")] = None
    tokenizer_config_json_url: Annotated[Url | None, Meta(description="Text models: `tokenizer_config.json`.")] = None
    vocab_txt_url: Annotated[
        Url | None, Meta(description="Text models: `vocab.txt`, if the model has no `tokenizer.json`.")
    ] = None
    special_tokens_map_json_url: Annotated[Url | None, Meta(description="Text models: `special_tokens_map.json`.")] = (
        None
    )
    pooling_config_json_url: Annotated[
        Url | None, Meta(description="sentence-transformers: `1_Pooling/config.json`; mean pooling if not given.")
    ] = None
    sentence_bert_config_json_url: Annotated[
        Url | None, Meta(description="sentence-transformers: `sentence_bert_config.json`.")
    ] = None
    modules_json_url: Annotated[
        Url | None,
        Meta(description="sentence-transformers: `modules.json`; a transformer and a pooling module if not given."),
    ] = None
    mode: Annotated[Literal["RGB"] | None, Meta(description="OpenCLIP: color mode of the images; only RGB.")] = None
    mean: Annotated[
        Annotated[list[float], Meta(min_length=3, max_length=3)] | None,
        Meta(
            description="OpenCLIP and timm: mean of each channel, for pixels from 0 to 1; overrides the configuration."
        ),
    ] = None
    std: Annotated[
        Annotated[list[Annotated[float, Meta(gt=0)]], Meta(min_length=3, max_length=3)] | None,
        Meta(description="OpenCLIP and timm: standard deviation of each channel; overrides the configuration."),
    ] = None
    interpolation: Annotated[
        Interpolation | None,
        Meta(description="OpenCLIP (bicubic, bilinear) and timm: filter for resizing; overrides the configuration."),
    ] = None
    resize_mode: Annotated[
        Literal["shortest", "longest", "squash"] | None,
        Meta(description="OpenCLIP: side that is resized to the image size; overrides the configuration."),
    ] = None
    num_classes: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="timm: number of classes of the classifier in the weights; overrides the configuration."),
    ] = None
