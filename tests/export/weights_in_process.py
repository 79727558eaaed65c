"""What the tests of incomplete models run in the process that has torch."""

import dataclasses
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from export_in_process import embed_published, export_manifest

from ingrain.errors import IngrainError
from ingrain.export.process.job import Event, ExportJob
from ingrain.progress import Progress
from ingrain.vocabulary import Library

TEXTS = ["the river runs past old stone houses", "houses stone past old runs the river"]

# A network of a repository's own, written as such networks are: what is computed is a buffer that no file holds.
TURNING = """
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class TurningConfig(PretrainedConfig):
    model_type = "turning"

    def __init__(self, hidden_size=32, vocab_size=200, layers=2, **options):
        super().__init__(**options)
        self.hidden_size, self.vocab_size, self.layers = hidden_size, vocab_size, layers


class Rotary(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("inv_freq", FREQUENCIES, persistent=False)
        self.register_buffer("unused", torch.empty(4), persistent=False)

    def forward(self, x):
        angles = torch.arange(x.shape[1], device=x.device).float()[:, None] * self.inv_freq[None]
        sin, cos = angles.sin(), angles.cos()
        left, right = x.chunk(2, dim=-1)
        return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=-1)


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.rotary = Rotary(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x, mask):
        query, key = self.rotary(self.query(x)), self.rotary(self.key(x))
        scores = query @ key.transpose(1, 2) / x.shape[-1] ** 0.5
        scores = scores.masked_fill(mask[:, None] == 0, -1e4)
        return self.norm(x + scores.softmax(-1) @ self.value(x))


class TurningModel(PreTrainedModel):
    config_class = TurningConfig
    base_model_prefix = "turning"

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config.hidden_size) for _ in range(config.layers))
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, return_dict=True, **options):
        x = self.embeddings(input_ids)
        for layer in self.layers:
            x = layer(x, attention_mask)
        return BaseModelOutput(last_hidden_state=x)

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(mean=0.0, std=0.02)
"""
EVERY_REPOSITORY = ("*",)
COMPUTED = "1.0 / 20 ** (torch.arange(0, width, 2).float() / width)"


def build_turning(folder: Path, frequencies: str = COMPUTED, modeling: str = TURNING) -> Any:
    """Build a model whose network is code of its own in ``models/model``; return the network by its constructor.

    Args:
        folder: Where ``models`` goes.
        frequencies: The expression of its rotary frequencies.
        modeling: The code.
    """
    from safetensors.torch import save_file

    from tiny_models import build_family, randomize

    source = folder / "models" / "model"
    build_family("BERT", source)
    words = json.loads((source / "config.json").read_text())["vocab_size"]
    code = source / "modeling_turning.py"
    code.write_text(modeling.replace("FREQUENCIES", frequencies))
    network = network_of(code, words)
    randomize(network)
    save_file(network.state_dict(), source / "model.safetensors", metadata={"format": "pt"})
    names = {"AutoConfig": "modeling_turning.TurningConfig", "AutoModel": "modeling_turning.TurningModel"}
    config = {"model_type": "turning", "auto_map": names, "architectures": ["TurningModel"], "vocab_size": words}
    (source / "config.json").write_text(json.dumps(config))
    return network


def network_of(code: Path, words: int) -> Any:
    """Make the network as its constructor does, with nothing of transformers' loading."""
    name = f"turning_{time.monotonic_ns()}"
    spec = importlib.util.spec_from_file_location(name, code)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.TurningModel(module.TurningConfig(vocab_size=words)).eval()


def build(library: Library, folder: Path) -> Path:
    """Build a small model of a library in ``models/model``."""
    from tiny_clip import build_tiny_clip
    from tiny_pipelines import PIPELINES
    from tiny_timm import build_timm

    source = folder / "models" / "model"
    if library == "open_clip":
        return build_tiny_clip("SigLIP", source)
    if library == "timm":
        return build_timm("resnet10t", source, num_classes=4)
    return PIPELINES["Dense, tanh"](source)


def refusal_of_broken(
    library: Library,
    folder: Path,
    lacks: str | None = None,
    adds: str | None = None,
    renames: tuple[str, str] | None = None,
    config: dict[str, Any] | None = None,
    in_folder: str = "",
    precision: str = "fp32",
) -> str:
    """Break a small model, try to export it, and return what became of it.

    Args:
        library: Of the model.
        folder: Where it is built.
        lacks: What the names of tensors hold that are taken out of its weights.
        adds: The name of a tensor that is put in.
        renames: What is replaced in the names, and by what.
        config: Dotted keys of its configuration, and their new values.
        in_folder: Of the module that is broken.
        precision: What is asked for.
    """
    from safetensors.torch import load_file, save_file

    source = build(library, folder) / in_folder
    file = source / ("open_clip_model.safetensors" if library == "open_clip" else "model.safetensors")
    before = load_file(file)
    weights = {
        name.replace(*(renames or ("", ""))): value for name, value in before.items() if not (lacks and lacks in name)
    }
    if adds:
        weights[adds] = weights[next(iter(weights))].clone()
    save_file(weights, file, metadata={"format": "pt"})
    path = source / ("open_clip_config.json" if library == "open_clip" else "config.json")
    whole = json.loads(path.read_text())
    for key, value in (config or {}).items():
        *parents, last = key.split(".")
        place = whole
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    path.write_text(json.dumps(whole))
    return what_becomes_of(folder, library, precision=precision)


def what_becomes_of(folder: Path, library: Library, **options: Any) -> str:
    """Export ``models/model`` up to its first graph; return the error's code and message, or ``exported``."""
    from ingrain.export.process.worker import run_job

    (folder / "output").mkdir(exist_ok=True)
    job = ExportJob(
        name="model",
        library=library,
        output=str(folder / "output"),
        local_models_dir=str(folder / "models"),
        **options,
    )
    try:
        run_job(job, _stop_before_a_graph)
    except IngrainError as error:
        return f"{error.code}: {error.message}"
    except _ConversionBegins:
        return "exported"
    raise AssertionError("nothing was exported")


class _ConversionBegins(Exception):  # noqa: N818  # no error
    """The model was taken: its conversion begins."""


def _stop_before_a_graph(event: Event) -> None:
    if isinstance(event, Progress) and event.phase == "export":
        raise _ConversionBegins


def refusal_of_turning(folder: Path, frequencies: str) -> str:
    """Build the network of a repository's own with such frequencies, and try to export it."""
    build_turning(folder, frequencies)
    return what_becomes_of(folder, "sentence_transformers", trust_remote_code=EVERY_REPOSITORY)


def refusal_of_turning_by_an_attribute(folder: Path) -> str:
    """As ``refusal_of_turning``, of a network with a tensor drawn at random that is neither weight nor buffer."""
    modeling = TURNING.replace(
        "self.norm = nn.LayerNorm(width)", "self.norm = nn.LayerNorm(width)\n        self.drift = torch.rand(width)"
    ).replace("@ self.value(x))", "@ self.value(x) + self.drift)")
    build_turning(folder, modeling=modeling)
    return what_becomes_of(folder, "sentence_transformers", trust_remote_code=EVERY_REPOSITORY)


def refusal_of_drifting(folder: Path, library: Library) -> str:
    """Try to export a network of pictures with a buffer that nobody sets, registered with timm as its own are."""
    from timm.models import register_model

    from tiny_clip import TINY_CLIPS, build_clip
    from tiny_timm import build_timm

    register_model(drifting)
    source = folder / "models" / "model"
    if library == "timm":
        build_timm("drifting", source, num_classes=4)
    else:
        tiny = TINY_CLIPS["MobileCLIP, padding attends, ConvNeXt"]
        vision = tiny.model["vision_cfg"] | {"timm_model_name": "drifting", "image_size": 64}
        build_clip(dataclasses.replace(tiny, model=tiny.model | {"vision_cfg": vision}), source)
    return what_becomes_of(folder, library)


def drifting(pretrained: bool = False, **options: Any) -> Any:
    """Build a small ResNet that adds to its features what was in memory."""
    import torch
    from timm.models._builder import build_model_with_cfg
    from timm.models.resnet import BasicBlock, ResNet

    class Drifting(ResNet):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.register_buffer("drift", torch.empty(512), persistent=False)

        def forward_head(self, features: Any, pre_logits: bool = False) -> Any:
            return super().forward_head(features + self.drift[:, None, None], pre_logits)

    return build_model_with_cfg(Drifting, "drifting", pretrained, block=BasicBlock, layers=[1, 1, 1, 1], **options)


def vectors_of_turning(folder: Path, modeling: str = TURNING) -> tuple[np.ndarray, np.ndarray]:
    """Export the network of a repository's own; return what is served, and what the constructor's network gives."""
    import torch
    from transformers import AutoTokenizer

    network = build_turning(folder, modeling=modeling)
    export_manifest(folder, trust_remote_code=EVERY_REPOSITORY)
    tokens = AutoTokenizer.from_pretrained(folder / "models" / "model")(TEXTS, return_tensors="pt")
    with torch.inference_mode():
        states = network(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
    return np.concatenate([embed_published(folder / "output", [text]) for text in TEXTS]), states.mean(1).numpy()


def tensors_of_two_loads() -> dict[str, list[bool]]:
    """Return whether two loads draw equal random numbers, and of each whether unset memory was NaN."""
    import torch

    from ingrain.export.weights.independent_load import IndependentLoads

    loads = IndependentLoads()
    drawn, unset = [], []
    for _ in range(2):
        with loads.watch():
            drawn.append(torch.rand(4))
            unset.append(bool(torch.empty(1 << 16).isnan().all()))
    return {"equal": [torch.equal(*drawn)], "unset": unset}


def refusal_of_left_over_masks(kind: str) -> str:
    """Load a decoder whose file has the masks that older versions wrote into each layer; return what is said of it."""
    from transformers import AutoConfig, AutoModel

    from ingrain.export.weights.load_report import Loaded, refuse_unused_layers

    sizes = {"gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4}, "gpt_neo": {"hidden_size": 32, "num_layers": 2}}[kind]
    more = {"attention_types": [[["global", "local"], 1]], "num_heads": 4} if kind == "gpt_neo" else {}
    network = AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=99, **sizes, **more))
    mask = {"gpt2": "transformer.h.0.attn.bias", "gpt_neo": "transformer.h.0.attn.attention.bias"}[kind]
    refuse_unused_layers([Loaded(network, unexpected=frozenset({mask}), transformers=True)])
    try:
        strange = frozenset({mask.replace("bias", "lora_A")})
        refuse_unused_layers([Loaded(network, unexpected=strange, transformers=True)])
    except IngrainError as error:
        return error.message
    raise AssertionError("nothing was refused")


def vectors_of_code_that_sets_weights_anew(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """As ``vectors_of_turning``, where the code sets biases to zero in modules that have a buffer of their own."""
    code = TURNING.replace(
        "self.norm = nn.LayerNorm(width)",
        'self.norm = nn.LayerNorm(width)\n        self.register_buffer("ones", torch.ones(2), persistent=False)',
    ).replace(
        "    def _init_weights(self, module):\n",
        "    def _init_weights(self, module):\n"
        "        if isinstance(module, Layer):\n"
        "            module.value.bias.data.zero_()\n"
        "            module.norm.weight.data.fill_(1.0)\n",
    )
    return vectors_of_turning(folder, code)


def error_of_a_probe_without_memory() -> str:
    """Ask whether a tensor matters where the machine has no memory left for the question."""
    import torch

    from ingrain.export.weights.independent_load import IndependentLoads

    network = torch.nn.Linear(2, 2).requires_grad_(False)

    def probe() -> list[np.ndarray]:
        raise MemoryError

    try:
        IndependentLoads().check(network, [], probe)
    except (IngrainError, MemoryError) as error:
        return type(error).__name__
    raise AssertionError("nothing was said")


def error_of_a_load_without_memory() -> str:
    """Run out of memory behind a network that was filled in part, as libraries do on purpose."""
    import torch

    from ingrain.export.weights.independent_load import IndependentLoads

    try:
        with IndependentLoads().watch():
            torch.nn.Linear(2, 2).load_state_dict({"weight": torch.zeros(2, 2)}, strict=False)
            raise MemoryError
    except (IngrainError, MemoryError) as error:
        return type(error).__name__
    raise AssertionError("nothing was said")
