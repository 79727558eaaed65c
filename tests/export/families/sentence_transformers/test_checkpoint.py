"""What is refused from a model's JSON files alone, before any of it is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingrain.errors import UnsupportedModelError
from ingrain.export.families.sentence_transformers.checkpoint import inspect, refuse_activation

TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hold the files of a BERT with mean pooling."""
    write(tmp_path, "modules.json", [TRANSFORMER, POOLING])
    write(tmp_path, "config.json", {"model_type": "bert"})
    write(tmp_path, "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    write(tmp_path, "1_Pooling/config.json", {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True})
    (tmp_path / "vocab.txt").write_text("red")
    (tmp_path / "model.safetensors").write_bytes(b"")
    return tmp_path


def refusal(folder: Path, *, trust_remote_code: bool = False) -> str:
    with pytest.raises(UnsupportedModelError) as caught:
        inspect(folder, trust_remote_code=trust_remote_code)
    assert str(folder) not in caught.value.message
    return caught.value.message


def test_a_usual_folder_passes(folder: Path) -> None:
    checkpoint = inspect(folder, trust_remote_code=False)
    assert [module.kind for module in checkpoint.modules] == ["Transformer", "Pooling"]


def test_the_newer_paths_of_the_modules_pass_too(folder: Path) -> None:
    modules = "sentence_transformers.sentence_transformer.modules"
    base = "sentence_transformers.base.modules.transformer.Transformer"
    write(folder, "modules.json", [TRANSFORMER | {"type": base}, POOLING | {"type": f"{modules}.pooling.Pooling"}])
    assert [module.kind for module in inspect(folder, trust_remote_code=False).modules] == ["Transformer", "Pooling"]


def test_a_plain_transformers_folder_passes(folder: Path) -> None:
    (folder / "modules.json").unlink()
    assert inspect(folder, trust_remote_code=False).modules == ()


@pytest.mark.parametrize(
    "dotted",
    [
        "sentence_transformers.models.Mystery",
        "sentence_transformers.util.http_get",
        "sentence_transformers.cross_encoder.modules.LogitScore",
    ],
)
def test_a_module_that_we_do_not_know_is_refused(folder: Path, dotted: str) -> None:
    write(folder, "modules.json", [TRANSFORMER, POOLING | {"type": dotted}])
    assert dotted.rpartition(".")[2] in refusal(folder)


@pytest.mark.parametrize("kind", ["BoW", "WordEmbeddings", "WordWeights", "LSTM", "Router", "Asym"])
def test_a_module_that_we_know_and_cannot_convert_is_refused_with_the_reason(folder: Path, kind: str) -> None:
    write(folder, "modules.json", [{"path": "", "type": f"sentence_transformers.models.{kind}"}, POOLING])
    assert f"{kind!r} cannot be served: it " in refusal(folder)


def test_code_that_comes_with_the_model_runs_only_where_it_may(folder: Path) -> None:
    write(folder, "modules.json", [TRANSFORMER | {"type": "custom_code.Transformer"}, POOLING])
    assert "remote code" in refusal(folder)
    assert inspect(folder, trust_remote_code=True).custom_code


@pytest.mark.parametrize(
    "modules",
    [
        [TRANSFORMER, POOLING | {"type": "custom_code.Pooling"}],
        [TRANSFORMER, POOLING, {"path": "2_Head", "type": "custom_code.Transformer"}],
        [TRANSFORMER | {"type": "custom_code.Encoder"}, POOLING],
    ],
)
def test_code_that_no_graph_can_be_made_of_is_refused_before_it_is_loaded(
    folder: Path, modules: list[dict[str, str]]
) -> None:
    """Where code is allowed, too: it was refused after the weights had been loaded and the tokenizer written."""
    write(folder, "modules.json", modules)
    assert "cannot be converted to ONNX" in refusal(folder, trust_remote_code=True)


def test_a_network_whose_code_comes_with_the_model_is_refused(folder: Path) -> None:
    write(folder, "config.json", {"model_type": "brand_new", "auto_map": {"AutoModel": "modeling.New"}})
    assert "remote code" in refusal(folder)


def test_a_network_with_code_is_refused_although_transformers_has_the_type(folder: Path) -> None:
    """jina-embeddings-v2 calls itself a BERT, and is one with other positions."""
    code = "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"
    write(folder, "config.json", {"model_type": "bert", "auto_map": {"AutoModel": code}})
    assert "(INGRAIN_TRUST_REMOTE_CODE)" in refusal(folder)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "bert", "architectures": ["JinaBertForMaskedLM"]}, ["'JinaBertForMaskedLM'", "'bert'"]),
        ({"model_type": "llama", "architectures": ["LlamaBidirectionalModel"]}, ["'LlamaBidirectionalModel'"]),
        ({"model_type": "dpr", "architectures": ["DPRContextEncoder"]}, ["'DPRContextEncoder'"]),
        ({"model_type": "bert", "position_embedding_type": "alibi"}, ["'alibi'", "absolute"]),
        ({"model_type": "xlm-roberta", "position_embedding_type": "rotary"}, ["'rotary'"]),
        ({"model_type": "bert", "n_layer": 2}, ["'n_layer' (2)", "'num_hidden_layers' 12"]),
        ({"model_type": "nomic_bert", "n_embd": 32}, ["'n_embd' (32)", "'hidden_size' 768"]),
    ],
)
def test_a_configuration_that_transformers_would_read_as_another_network_is_refused(
    folder: Path, config: dict[str, Any], words: list[str]
) -> None:
    write(folder, "config.json", config)
    message = refusal(folder)
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "bert", "architectures": ["BertForMaskedLM"], "position_embedding_type": "absolute"},
        {"model_type": "bert", "architectures": ["BertForCL"]},
        {"model_type": "bert", "architectures": ["Contriever"]},
        {"model_type": "xlm-roberta", "architectures": ["RobertaModel"]},
        {"model_type": "pegasus", "architectures": ["PegasusEncoder"]},
        {"model_type": "t5", "architectures": ["T5EncoderModel"], "d_model": 64, "num_layers": 2, "n_positions": 512},
        {"model_type": "distilbert", "architectures": ["DistilBertModel"], "dim": 64, "n_layers": 2, "hidden_dim": 4},
        {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": 2, "n_embd": 64, "n_ctx": 128},
        {"model_type": "bert", "n_layer": 2, "num_hidden_layers": 2},
    ],
)
def test_a_configuration_with_transformers_names_or_their_usual_company_passes(
    folder: Path, config: dict[str, Any]
) -> None:
    write(folder, "config.json", config)
    inspect(folder, trust_remote_code=False)


def test_code_of_something_else_does_not_vouch_for_the_network(folder: Path) -> None:
    """The library would take its own BertModel, without ALiBi, whoever allows the code of the head."""
    alibi = {"model_type": "bert", "architectures": ["JinaBertForMaskedLM"], "position_embedding_type": "alibi"}
    write(folder, "config.json", alibi | {"auto_map": {"AutoModelForMaskedLM": "modeling.JinaBertForMaskedLM"}})
    assert "JinaBertForMaskedLM" in refusal(folder, trust_remote_code=True)


@pytest.mark.parametrize("file", ["config.json", "sentence_bert_config.json"])
def test_attention_that_is_code_of_the_hub_is_refused(folder: Path, file: str) -> None:
    named = {"attn_implementation": "kernels-community/flash-attn"}
    write(folder, file, {"model_type": "bert"} | named if file == "config.json" else {"model_args": named})
    assert "'kernels-community/flash-attn'" in refusal(folder, trust_remote_code=True)


def test_a_network_that_transformers_does_not_know_is_refused(folder: Path) -> None:
    write(folder, "config.json", {"model_type": "brand_new"})
    assert "'brand_new'" in refusal(folder)


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "1_Pooling/../../x"])
def test_a_module_outside_the_folder_is_refused(folder: Path, path: str) -> None:
    write(folder, "modules.json", [TRANSFORMER, POOLING | {"path": path}])
    assert "outside the model's folder" in refusal(folder)


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "model.pt"])
def test_weights_that_are_pickle_only_are_refused(folder: Path, pickle: str) -> None:
    (folder / "model.safetensors").rename(folder / pickle)
    assert "Convert the weights to safetensors" in refusal(folder)


def test_a_dense_module_with_pickle_only_is_refused_although_the_network_is_safe(folder: Path) -> None:
    dense = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    write(folder, "modules.json", [TRANSFORMER, POOLING, dense])
    write(folder, "2_Dense/config.json", {"in_features": 8, "out_features": 4})
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"")
    assert "Convert the weights to safetensors" in refusal(folder)


def test_weights_in_shards_pass(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    write(folder, "model.safetensors.index.json", {"weight_map": {}})
    inspect(folder, trust_remote_code=False)


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [
        ("1_Pooling/config.json", {"pooling_mode_attention": True}, "pooling_mode_attention"),
        ("sentence_bert_config.json", {"max_seq_length": 8, "mystery": 1}, "mystery"),
        ("sentence_bert_config.json", {"model_args": {"quantization_config": {}}}, "quantization_config"),
        ("sentence_bert_config.json", {"query_length": 32}, "query_length"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 3}}}, "processing_kwargs"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task"),
    ],
)
def test_an_option_that_we_do_not_model_is_refused(folder: Path, file: str, content: Any, word: str) -> None:
    write(folder, file, content)
    assert word in refusal(folder)


def test_an_activation_that_the_source_would_silently_replace_is_refused(folder: Path) -> None:
    dense = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    write(folder, "modules.json", [TRANSFORMER, POOLING, dense])
    write(folder, "2_Dense/config.json", {"in_features": 8, "out_features": 4, "activation_function": "my.Mish"})
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"")
    assert "'my.Mish'" in refusal(folder)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"model_type": "led"}, "one text length only"),
        ({"model_type": "funnel"}, "one text length"),
        ({"model_type": "big_bird"}, "block-sparse"),
        ({"model_type": "switch_transformers", "num_experts": 8}, "mixture of experts in its own code"),
        ({"model_type": "nomic_bert", "num_experts": 8}, "without experts"),
        ({"model_type": "phi3", "rope_scaling": {"type": "longrope"}}, "depend on the text's length"),
        ({"model_type": "gemma3_text", "rope_parameters": {"full_attention": {"rope_type": "dynamic"}}}, "depend"),
    ],
)
def test_an_architecture_that_cannot_be_converted_is_refused_with_the_reason(
    folder: Path, config: dict[str, Any], word: str
) -> None:
    write(folder, "config.json", config)
    assert word in refusal(folder)


def test_full_attention_makes_a_big_bird_convertible(folder: Path) -> None:
    write(folder, "config.json", {"model_type": "big_bird", "attention_type": "original_full"})
    inspect(folder, trust_remote_code=False)


def test_an_adapter_is_refused(folder: Path) -> None:
    write(folder, "adapter_config.json", {})
    assert "adapter" in refusal(folder)


@pytest.mark.parametrize("name", ["modules.json", "config.json"])
def test_broken_json_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    assert name in refusal(folder)


_FORWARD = {"method": "forward", "method_output_name": "last_hidden_state"}


@pytest.mark.parametrize(
    ("modalities", "reason"),
    [
        (("text", "image", "message"), "chat messages"),
        (("image",), "takes image and no texts"),
        (("audio",), "no texts"),
    ],
)
def test_what_a_model_takes_is_judged_before_it_is_loaded(
    folder: Path, modalities: tuple[str, ...], reason: str
) -> None:
    """Qwen2-VL's kin have gigabytes of weights that would be read first."""
    config = {"modality_config": dict.fromkeys(modalities, _FORWARD), "module_output_name": "token_embeddings"}
    write(folder, "sentence_bert_config.json", config)
    assert reason in refusal(folder)


def test_sounds_and_videos_beside_texts_do_not_stand_in_the_way(folder: Path) -> None:
    modalities = dict.fromkeys(("text", "image", "audio", "image+text"), _FORWARD)
    write(
        folder, "sentence_bert_config.json", {"modality_config": modalities, "module_output_name": "token_embeddings"}
    )
    inspect(folder, trust_remote_code=False)


@pytest.mark.parametrize(
    ("file", "content"),
    [("chat_template.jinja", "{{ messages }}"), ("tokenizer_config.json", {"chat_template": "{{ }}"})],
)
def test_a_plain_folder_with_a_chat_template_is_refused(folder: Path, file: str, content: object) -> None:
    (folder / "modules.json").unlink()
    write(folder, file, content)
    assert "chat messages" in refusal(folder)


def test_padding_to_the_limit_is_followed_and_other_ways_of_preparing_are_refused(folder: Path) -> None:
    write(folder, "sentence_bert_config.json", {"processing_kwargs": {"text": {"padding": "max_length"}}})
    inspect(folder, trust_remote_code=False)
    write(folder, "sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 12}}})
    assert "processing_kwargs" in refusal(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config_sentence_transformers.json", {"activation_fn": "my.Mish"}),
        ("config.json", {"model_type": "bert", "sentence_transformers": {"activation_fn": "my.Mish"}}),
        ("config.json", {"model_type": "bert", "sbert_ce_default_activation_function": "my.Mish"}),
    ],
)
def test_scores_with_an_activation_of_custom_code_are_refused(folder: Path, file: str, content: Any) -> None:
    """The library would take a sigmoid in its place."""
    write(folder, file, content)
    checkpoint = inspect(folder, trust_remote_code=False)
    with pytest.raises(UnsupportedModelError, match="Mish"):
        refuse_activation(checkpoint)


def test_scores_with_an_activation_of_torch_pass(folder: Path) -> None:
    write(folder, "config_sentence_transformers.json", {"activation_fn": "torch.nn.modules.linear.Identity"})
    write(folder, "config.json", {"model_type": "bert", "sentence_transformers": {"version": "4.1.0"}})
    refuse_activation(inspect(folder, trust_remote_code=False))
