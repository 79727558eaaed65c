"""Models whose code is kept elsewhere, as the hub has them; run in the process that has torch."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ingrain.export.process.job import ExportJob
from ingrain.repository.manifest import Manifest

TEXTS = ["the river", "coffee in Berlin " * 9, "x", ""]

# nomic-ai/nomic-embed-text-v1.5, with a width that its code does not round up.
NOMIC = {
    "activation_function": "swiglu", "architectures": ["NomicBertModel"], "attn_pdrop": 0.0,
    "auto_map": {
        "AutoConfig": "nomic-ai/nomic-bert-2048--configuration_hf_nomic_bert.NomicBertConfig",
        "AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel",
        "AutoModelForMaskedLM": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertForPreTraining",
    },
    "causal": False, "dense_seq_output": True, "embd_pdrop": 0.0, "fused_bias_fc": True, "fused_dropout_add_ln": True,
    "initializer_range": 0.02, "layer_norm_epsilon": 1e-12, "max_trained_positions": 2048, "mlp_fc1_bias": False,
    "mlp_fc2_bias": False, "model_type": "nomic_bert", "n_embd": 32, "n_head": 4, "n_inner": 256, "n_layer": 2,
    "n_positions": 8192, "pad_vocab_size_multiple": 1, "parallel_block": False, "parallel_block_tied_norm": False,
    "prenorm": False, "qkv_proj_bias": False, "resid_pdrop": 0.0, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False, "rotary_emb_scale_base": None, "rotary_scaling_factor": None,
    "scale_attn_weights": True, "torch_dtype": "float32", "type_vocab_size": 2, "use_cache": True,
    "use_flash_attn": True, "use_rms_norm": False, "use_xentropy": True,
}  # fmt: skip
# Snowflake/snowflake-arctic-embed-m-v2.0; Alibaba-NLP's models are the same network under the name "new".
ARCTIC = {
    "architectures": ["GteModel"], "attention_probs_dropout_prob": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_hf_alibaba_nlp_gte.GteConfig",
        "AutoModel": "modeling_hf_alibaba_nlp_gte.GteModel",
    },
    "classifier_dropout": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 32,
    "initializer_range": 0.02, "intermediate_size": 64, "layer_norm_eps": 1e-12, "layer_norm_type": "layer_norm",
    "logn_attention_clip1": False, "logn_attention_scale": False, "matryoshka_dimensions": [16],
    "max_position_embeddings": 8192, "model_type": "gte", "num_attention_heads": 4, "num_hidden_layers": 2,
    "pack_qkv": True, "pad_token_id": 1, "position_embedding_type": "rope", "rope_scaling": None,
    "rope_theta": 160000, "torch_dtype": "float32", "type_vocab_size": 1, "unpad_inputs": "true",
    "use_memory_efficient_attention": "true",
}  # fmt: skip
GTE_MULTILINGUAL = ARCTIC | {
    "architectures": ["NewModel"], "model_type": "new", "rope_scaling": {"factor": 8.0, "type": "ntk"},
    "rope_theta": 20000,
    "auto_map": {
        "AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig",
        "AutoModel": "Alibaba-NLP/new-impl--modeling.NewModel",
    },
}  # fmt: skip
# What that scaling comes to for heads of 8: base times factor, frequencies divided by the factor's power of 2 / 8.
SCALED = {"rope_type": "linear", "rope_theta": 160000.0, "factor": 8.0 ** (2 / 8)}
# Alibaba-NLP/gte-multilingual-reranker-base.
GTE_RERANKER = GTE_MULTILINGUAL | {
    "architectures": ["NewForSequenceClassification"], "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0},
    "auto_map": GTE_MULTILINGUAL["auto_map"] | {
        "AutoModelForSequenceClassification": "Alibaba-NLP/new-impl--modeling.NewForSequenceClassification",
    },
}  # fmt: skip
QWEN2_CODE = {"AutoModel": "modeling_qwen.Qwen2Model", "AutoModelForCausalLM": "modeling_qwen.Qwen2ForCausalLM"}
BYTES = {"add_prefix_space": False, "trim_offsets": False, "use_regex": False}

CONFIGURATION = """\
from transformers import BertConfig
class TinyConfig(BertConfig):
    model_type = "tiny_remote"
"""
MODELING = """\
from transformers import BertModel
from .configuration_tiny import TinyConfig
class TinyModel(BertModel):
    config_class = TinyConfig
    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, **options):
        output = super().forward(input_ids, attention_mask, token_type_ids, **options)
        output.last_hidden_state = output.last_hidden_state.flip(-1)
        return output
"""
# As jina-reranker-v2-base-multilingual: a classifier in the model's own code.
SCORER = """\
from transformers import BertForSequenceClassification
from .configuration_tiny import TinyConfig
class TinyForSequenceClassification(BertForSequenceClassification):
    config_class = TinyConfig
    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, **options):
        output = super().forward(input_ids, attention_mask, token_type_ids, **options)
        output.logits = 2 * output.logits
        return output
"""
CODE = {"configuration_tiny.py": CONFIGURATION.encode(), "modeling_tiny.py": MODELING.encode()}
AUTO_MAP = {
    "AutoConfig": "org/code--configuration_tiny.TinyConfig",
    "AutoModel": "org/code--modeling_tiny.TinyModel",
}


def build_as_on_the_hub(kind: str, folder: Path) -> Path:
    """Build a small model natively, beside it (``FOLDER.native``), and give it the hub's configuration."""
    native = folder.with_name(f"{folder.name}.native")
    built, config = _build(kind, native)
    vocabulary = json.loads((built / "config.json").read_text())["vocab_size"]
    folder.mkdir(parents=True)
    for file in built.rglob("*"):
        if file.is_file():
            (folder / file.relative_to(built)).parent.mkdir(exist_ok=True)
            (folder / file.relative_to(built)).symlink_to(file)
    write(folder / "config.json", config | {"vocab_size": vocabulary})
    if kind == "qwen2":
        names = ["tokenization_qwen.Qwen2Tokenizer", "tokenization_qwen.Qwen2TokenizerFast"]
        options = json.loads((folder / "tokenizer_config.json").read_text())
        write(folder / "tokenizer_config.json", options | {"auto_map": {"AutoTokenizer": names}, "add_eos_token": True})
        # The end token is not in tokenizer.json; code adds it.
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        write(folder / "tokenizer.json", tokenizer | {"post_processor": {"type": "ByteLevel", **BYTES}})
    # Code that must not be run where transformers' own class is the same network.
    for name in (
        "modeling_qwen",
        "modeling_hf_alibaba_nlp_gte",
        "configuration_hf_alibaba_nlp_gte",
        "tokenization_qwen",
    ):
        (folder / f"{name}.py").write_text("raise SystemExit('the code of the model was run')")
    return folder


def _build(kind: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    from dataclasses import replace

    from tiny_families import FAMILIES
    from tiny_models import build_pipeline

    family, config = {
        "nomic": (replace(FAMILIES["NomicBERT"], config={"intermediate_size": 256}), NOMIC),
        "arctic": (FAMILIES["GTE"], ARCTIC),
        "gte": (replace(FAMILIES["GTE"], config={"rope_parameters": SCALED}), GTE_MULTILINGUAL),
        "qwen2": (replace(FAMILIES["Qwen2"], config={"is_causal": False}), {}),
        "code": (FAMILIES["BERT"], {}),
    }[kind]
    build_pipeline(folder, family=family, modules=[("Pooling", {"pooling_mode": "mean"})])
    native = json.loads((folder / "config.json").read_text())
    if kind == "gte":
        _prefix_weights(folder, "new.")
    if kind == "qwen2":
        config = native | {"auto_map": QWEN2_CODE, "architectures": ["Qwen2ForCausalLM"]}
    if kind == "code":
        config = native | {"auto_map": AUTO_MAP, "architectures": ["TinyModel"], "model_type": "tiny_remote"}
    return folder, config


def _rename_weights(folder: Path, old: str, new: str) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    named = {new + name.removeprefix(old) if name.startswith(old) else name: tensor for name, tensor in tensors.items()}
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})


def _prefix_weights(folder: Path, prefix: str) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})


def write(path: Path, content: Any) -> None:
    """Write JSON."""
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(content))


def embed_settled(folder: Path, allowed: tuple[str, ...], links: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Load a local model as the export does; return its vectors, the native ones, and whether code is run."""
    from ingrain.export.families.sentence_transformers.checkpoint import inspect
    from ingrain.export.families.sentence_transformers.remote_code import prepare_folder
    from ingrain.export.families.sentence_transformers.source import SentenceTransformersSource
    from ingrain.sources.model_source import ResolvedSource

    job = ExportJob(name="model", library="sentence_transformers", output="", trust_remote_code=allowed)
    source = ResolvedSource(folder=folder, commit=None, repository="model", origin="local")
    settled = prepare_folder(job, source, links, lambda _: None)
    found = []
    for part in (settled.folder, folder.with_name(f"{folder.name}.native")):
        trust = settled.runs_code and part == settled.folder
        checkpoint = inspect(part, trust_remote_code=trust)
        found.append(SentenceTransformersSource(checkpoint, name="model", trust_remote_code=trust))
    ids = found[0].tokenize([TEXTS[0]])["input_ids"][0]
    assert found[0].model[0].tokenizer.eos_token_id in (None, ids[-1]), "the end token is there"
    return found[0].embed(TEXTS), found[1].embed(TEXTS), settled.runs_code


def build_reranker(kind: str, folder: Path) -> Path:
    """Build a reranker with a configuration that names code, beside its native form (``FOLDER.native``)."""
    from dataclasses import replace

    from tiny_families import FAMILIES
    from tiny_scorers import build_classifier

    family = replace(FAMILIES["GTE"], config={"rope_parameters": SCALED}) if kind == "gte" else FAMILIES["BERT"]
    native = build_classifier(folder.with_name(f"{folder.name}.native"), family)
    folder.mkdir(parents=True)
    for file in native.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((native / "config.json").read_text())
    if kind == "gte":
        _rename_weights(folder, "gte.", "new.")
        write(folder / "config.json", GTE_RERANKER | {"vocab_size": config["vocab_size"]})
        return folder
    auto_map = {
        "AutoConfig": "configuration_tiny.TinyConfig",
        "AutoModelForSequenceClassification": "modeling_scorer.TinyForSequenceClassification",
    }
    (folder / "configuration_tiny.py").write_text(CONFIGURATION)
    (folder / "modeling_scorer.py").write_text(SCORER)
    named = {"auto_map": auto_map, "architectures": ["TinyForSequenceClassification"], "model_type": "tiny_remote"}
    write(folder / "config.json", config | named)
    return folder


def score_settled(folder: Path, allowed: tuple[str, ...], links: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Load a local reranker as the export does; return its logits, the native ones, and whether code is run."""
    from ingrain.export.families.sentence_transformers.kinds import kind_of
    from ingrain.export.families.sentence_transformers.remote_code import prepare_folder
    from ingrain.export.families.sentence_transformers.scorer_source import open_source
    from ingrain.sources.model_source import ResolvedSource

    job = ExportJob(name="model", library="sentence_transformers", output="", trust_remote_code=allowed)
    source = ResolvedSource(folder=folder, commit=None, repository="model", origin="local")
    settled = prepare_folder(job, source, links, lambda _: None)
    assert kind_of(settled.folder).tasks[0] == "rerank"
    pairs = [("the river", text) for text in TEXTS]
    native = open_source(job, folder.with_name(f"{folder.name}.native")).score(pairs)
    return open_source(job, settled.folder).score(pairs), native, settled.runs_code


def frequencies_of_gte(folder: Path, links: Path) -> np.ndarray:
    """Return the rotations' frequencies of a model that names Alibaba-NLP's code, as it is loaded."""
    from ingrain.export.families.sentence_transformers.checkpoint import inspect
    from ingrain.export.families.sentence_transformers.remote_code import prepare_folder
    from ingrain.export.families.sentence_transformers.source import SentenceTransformersSource
    from ingrain.sources.model_source import ResolvedSource

    job = ExportJob(name="model", library="sentence_transformers", output="")
    source = ResolvedSource(folder=folder, commit=None, repository="model", origin="local")
    settled = prepare_folder(job, source, links, lambda _: None)
    checkpoint = inspect(settled.folder, trust_remote_code=False)
    model = SentenceTransformersSource(checkpoint, name="model", trust_remote_code=False).model
    frequencies: np.ndarray = model[0].model.rotary_emb.inv_freq.numpy()
    return frequencies


def run_in(job: ExportJob, environment: dict[str, str]) -> Manifest:
    """Do what the export process does, with a hub within its reach."""
    from ingrain.export.process.worker import run_job

    before = {name: os.environ.get(name) for name in environment}
    os.environ |= environment
    try:
        return run_job(job, lambda _: None)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def code_of(manifest: Manifest) -> list[tuple[str, str | None, list[str]]]:
    """Return whose code a manifest tells of, its commit, and its files."""
    return [(code.repository, code.commit, [file.path for file in code.files]) for code in manifest.code]
