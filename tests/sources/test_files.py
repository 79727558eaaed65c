import pytest

from ingrain.errors import UnsupportedModelError
from ingrain.sources.files import choose_files, file_rules

ST = ["modules.json", "config.json", "tokenizer.json", "1_Pooling/config.json"]


def choose(*paths: str, trust_remote_code: bool = False, pickled_weights: bool = True) -> set[str]:
    rules = file_rules("sentence_transformers", pickled_weights=pickled_weights, with_code=trust_remote_code)
    return set(choose_files(paths, rules, model="org/model"))


def test_shards_and_their_index_are_chosen() -> None:
    files = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}
    assert choose(*ST, *files) == {*ST, *files}


def test_variants_exports_and_checkpoints_are_left() -> None:
    left = [
        "model.fp16.safetensors",
        "consolidated.safetensors",
        "onnx/model.onnx",
        "onnx/tokenizer.json",
        "openvino/openvino_model.bin",
        "openvino/config.json",
        "checkpoint-500/model.safetensors",
        "checkpoint-500/pytorch_model.bin",
        ".git/config.json",
        "eval/results.json",
        "pytorch_model.bin",
        "training_args.bin",
        "rust_model.ot",
        "flax_model.msgpack",
    ]
    assert choose(*ST, "model.safetensors", *left) == {*ST, "model.safetensors"}


def test_weights_come_last() -> None:
    """What is small and may be refused (gated) is asked for first."""
    rules = file_rules("sentence_transformers", pickled_weights=True)
    chosen = choose_files(["model.safetensors", "0_Dense/model.safetensors", *ST], rules, model="m")
    assert chosen[-2:] == ["0_Dense/model.safetensors", "model.safetensors"]


def test_static_model_without_weights_in_the_root_is_fine() -> None:
    files = {"modules.json", "0_StaticEmbedding/model.safetensors", "0_StaticEmbedding/tokenizer.json"}
    assert choose(*files, "training_args.bin") == files


SHARDS = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
PICKLED = [
    ((*ST, "pytorch_model.bin"), {"pytorch_model.bin"}),
    ((*ST, *SHARDS), {*SHARDS}),
    ((*ST, *SHARDS, "pytorch_model.bin"), {"pytorch_model.bin"}),
    ((*ST, "model.safetensors", "2_Dense/config.json", "2_Dense/pytorch_model.bin"), {"2_Dense/pytorch_model.bin"}),
    ((*ST, "pytorch_model.bin", "2_Dense/model.safetensors"), {"pytorch_model.bin"}),
    ((*ST, "query_0_Transformer/pytorch_model.bin", "model.safetensors"), {"query_0_Transformer/pytorch_model.bin"}),
]


@pytest.mark.parametrize(("paths", "pickles"), PICKLED)
def test_a_pickle_is_fetched_for_the_folder_that_has_no_safetensors(paths: tuple[str, ...], pickles: set[str]) -> None:
    left = ["training_args.bin", "optimizer.pt", "tf_model.h5", "rust_model.ot", "elsewhere/pytorch_model.bin"]
    assert {path for path in choose(*paths, *left) if path.endswith((".bin", ".pt", ".h5", ".ot"))} == pickles


@pytest.mark.parametrize(("paths", "pickles"), PICKLED)
def test_where_pickles_are_forbidden_any_part_in_pickle_alone_is_refused_by_name(
    paths: tuple[str, ...], pickles: set[str]
) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        choose(*paths, pickled_weights=False)
    assert any(repr(named) in str(caught.value) for named in pickles)
    assert "INGRAIN_PICKLED_WEIGHTS" in str(caught.value)
    assert "save_pretrained" in str(caught.value)


@pytest.mark.parametrize("name", ["tf_model.h5", "flax_model.msgpack", "model.pt", "rust_model.ot"])
def test_weights_in_a_form_that_no_library_here_reads_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedModelError, match="which is not supported") as caught:
        choose(*ST, name)
    assert repr(name) in str(caught.value)


def test_the_heads_of_a_model_with_three_outputs_are_fetched() -> None:
    heads = {"sparse_linear.pt", "colbert_linear.pt"}
    assert heads <= set(choose("config.json", "model.safetensors", *heads))


def test_adapter_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnsupportedModelError, match="merge_and_unload"):
        choose("adapter_config.json", "adapter_model.safetensors", "tokenizer.json")


def test_no_weights_at_all_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="no weights"):
        choose(*ST, "model.gguf")


def test_code_is_chosen_only_when_trusted() -> None:
    assert "modeling.py" not in choose(*ST, "model.safetensors", "modeling.py")
    assert "modeling.py" in choose(*ST, "model.safetensors", "modeling.py", trust_remote_code=True)
