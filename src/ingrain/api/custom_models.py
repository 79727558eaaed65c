"""The body of a request to fetch a model of the user's own."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from ingrain.api.fields import Name, Word
from ingrain.api.image_steps import Interpolation
from ingrain.api.types import Request
from ingrain.vocabulary import Library

Url = Annotated[str, Meta(min_length=1, max_length=8192)]


class DownloadCustomModelRequest(Request, frozen=True, kw_only=True):
    """A model to fetch from URLs. Which fields apply is a matter of the library; any other is refused."""

    name: Annotated[
        Name,
        Meta(
            description="What the model will be called; without `configJsonUrl` also the architecture of OpenCLIP "
            "(`ViT-B-32`) or timm (`resnet50`) that the weights are for."
        ),
    ]
    library: Annotated[Library, Meta(description="Source library.")]
    safetensors_url: Annotated[Url, Meta(description="The weights, in one safetensors file.")]
    pretrained: Annotated[
        Word | None, Meta(description="OpenCLIP: a weight tag of your own, to be named again when the model is loaded.")
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
        Url | None, Meta(description="Text models: `vocab.txt`, where there is no `tokenizer.json`.")
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
        Meta(description="sentence-transformers: `modules.json`; a transformer and its pooling if not given."),
    ] = None
    mode: Annotated[Literal["RGB"] | None, Meta(description="OpenCLIP: how pictures are read; only RGB.")] = None
    mean: Annotated[
        Annotated[list[float], Meta(min_length=3, max_length=3)] | None,
        Meta(description="OpenCLIP and timm: mean by channel, of pixels in 0 to 1; overrides the configuration."),
    ] = None
    std: Annotated[
        Annotated[list[Annotated[float, Meta(gt=0)]], Meta(min_length=3, max_length=3)] | None,
        Meta(description="OpenCLIP and timm: standard deviation by channel; overrides the configuration."),
    ] = None
    interpolation: Annotated[
        Interpolation | None,
        Meta(
            description="OpenCLIP (bicubic, bilinear) and timm: how pictures are resized; overrides the configuration."
        ),
    ] = None
    resize_mode: Annotated[
        Literal["shortest", "longest", "squash"] | None,
        Meta(description="OpenCLIP: which side is brought to size; overrides the configuration."),
    ] = None
    num_classes: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="timm: outputs of the head in the weights; overrides the configuration."),
    ] = None
