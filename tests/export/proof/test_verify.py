"""The proof itself, on ONNX graphs small enough to write by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime import InferenceSession
from tokenizers import Tokenizer, models, pre_tokenizers

from ingrain.errors import VerificationError
from ingrain.export.proof.compare import prove as prove_graph
from ingrain.export.proof.text_references import TextReferences, longest_proved
from ingrain.export.proof.texts import AWKWARD, lengths_to_prove, text_of_length, tokenizer_texts
from ingrain.preprocess.text import TextPreprocessor
from ingrain.repository.manifest import TextPreprocess
from ingrain.repository.verification import Verification
from token_ids import ids_of

# Padding has an id of its own, so that a graph that forgets the mask is found out.
CONFIG = TextPreprocess(max_tokens=40, pad_id=9)
TEXTS = ["one", "two one", "three", "one two three four", "four four two two one one"]


@pytest.fixture
def preprocessor(tmp_path: Path) -> TextPreprocessor:
    words = {"[UNK]": 0, "one": 1, "two": 2, "three": 3, "four": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(40)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return TextPreprocessor(CONFIG, tmp_path)


def session_of(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> InferenceSession:
    """Build a graph from ``ids`` and ``mask`` in float32 to ``embedding``."""
    casts = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ids", "mask"], ["kept"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(
        casts + nodes,
        "by_hand",
        inputs,
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", None])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def sums(source: str = "kept", scale: float = 1.0, size: float = 1.0) -> InferenceSession:
    """Give the sum of the ids, times ``scale``, and the number of tokens, both times ``size``."""
    return session_of(
        [
            helper.make_node("ReduceSum", [source, "axis"], ["plain"], keepdims=1),
            helper.make_node("Mul", ["plain", "scale"], ["total"]),
            helper.make_node("ReduceSum", ["mask", "axis"], ["count"], keepdims=1),
            helper.make_node("Concat", ["total", "count"], ["both"], axis=1),
            helper.make_node("Mul", ["both", "size"], ["embedding"]),
        ],
        {"axis": np.array([1]), "scale": np.array(scale, np.float32), "size": np.array(size, np.float32)},
    )


def fixed_length() -> InferenceSession:
    """Give the first id, by a reshape that holds for four tokens only."""
    return session_of(
        [
            helper.make_node("Reshape", ["kept", "shape"], ["square"]),
            helper.make_node("Slice", ["square", "from", "to", "axes"], ["embedding"]),
        ],
        {"shape": np.array([-1, 4]), "from": np.array([0]), "to": np.array([2]), "axes": np.array([1])},
    )


def not_a_number() -> InferenceSession:
    return session_of(
        [
            helper.make_node("ReduceSum", ["kept", "axis"], ["total"], keepdims=1),
            helper.make_node("Neg", ["total"], ["negative"]),
            helper.make_node("Sqrt", ["negative"], ["root"]),
            helper.make_node("Concat", ["root", "total"], ["embedding"], axis=1),
        ],
        {"axis": np.array([1])},
    )


def references_of(preprocessor: TextPreprocessor, *, equal_lengths_only: bool = False) -> TextReferences:
    items = preprocessor.encode(TEXTS)
    return TextReferences(
        items=tuple(items),
        expected=np.array([[sum(ids_of(item)), len(item)] for item in items], np.float32),
        preprocessor=preprocessor,
        source_padding_diff=0.5 if equal_lengths_only else None,
        tokenizer_cases=len(TEXTS),
    )


def prove(session: InferenceSession, preprocessor: TextPreprocessor, **options: bool) -> Verification:
    return prove_graph(session, references_of(preprocessor, **options), tolerance=1e-4, report=lambda *_: None)


def test_a_right_graph_is_proved_alone_and_in_padded_batches(preprocessor: TextPreprocessor) -> None:
    measured = prove(sums(), preprocessor)
    assert measured.max_abs_diff < 1e-6
    assert measured.min_cosine > 0.999999
    assert measured.cases > 2 * len(TEXTS)


def test_a_small_difference_is_refused_and_named(preprocessor: TextPreprocessor) -> None:
    with pytest.raises(VerificationError, match=r"up to 0\.\d+ .*0\.0001 is allowed") as caught:
        prove(sums(scale=1.01), preprocessor)
    assert 1e-4 < float(str(caught.value.facts["maxAbsDiff"])) < 1e-2


def test_vectors_of_another_length_are_refused(preprocessor: TextPreprocessor) -> None:
    """Their directions are right, but not their dot products."""
    with pytest.raises(VerificationError, match=r"up to 0\.5 of their length"):
        prove(sums(size=0.5), preprocessor)


def test_a_graph_that_counts_padding_is_refused(preprocessor: TextPreprocessor) -> None:
    """It is right for every text alone, and wrong only beside longer ones."""
    with pytest.raises(VerificationError) as caught:
        prove(sums("ids"), preprocessor)
    assert float(str(caught.value.facts["paddingDiff"])) > 1e-2


def test_where_only_equal_lengths_share_a_batch_padding_is_not_held_against_the_graph(
    preprocessor: TextPreprocessor,
) -> None:
    measured = prove(sums("ids"), preprocessor, equal_lengths_only=True)
    assert measured.max_abs_diff < 1e-6
    assert measured.padding_diff == 0.5  # what the source itself does


@pytest.mark.parametrize(
    ("build", "words"), [(fixed_length, "a size was fixed"), (not_a_number, "NaN or infinity")], ids=["fixed", "nan"]
)
def test_a_graph_that_fails_or_gives_nan_is_refused(
    preprocessor: TextPreprocessor, build: Callable[[], InferenceSession], words: str
) -> None:
    with pytest.raises(VerificationError, match=words):
        prove(build(), preprocessor)


def test_lengths_reach_from_one_token_to_the_maximum() -> None:
    assert lengths_to_prove(1) == [1]
    lengths = lengths_to_prove(512)
    assert {1, 2, 12, 15, 16, 17, 255, 256, 257, 511, 512} <= set(lengths)
    assert max(lengths) == 512


@pytest.mark.parametrize(
    ("max_tokens", "parameters", "longest"),
    [(128, 10, 128), (8192, 10, 2048), (8192, 600_000_000, 512), (256, 600_000_000, 256)],
)
def test_the_longest_proved_text_is_capped_by_cost(max_tokens: int, parameters: int, longest: int) -> None:
    assert longest_proved(max_tokens, parameters) == longest


@pytest.mark.parametrize("count", [1, 2, 7, 31, 40])
def test_a_text_of_a_wanted_length_has_it(preprocessor: TextPreprocessor, count: int) -> None:
    """The tokenizer here splits at words and punctuation, so that every length can be had."""
    text = text_of_length(count, lambda text: len(preprocessor.encode([text])[0]), 40)
    assert len(preprocessor.encode([text])[0]) == count


def test_the_tokenizer_is_compared_on_several_hundred_texts() -> None:
    texts = tokenizer_texts(["[SEP]", "</s>"], 64)
    assert len(texts) > 500
    assert {"", "[SEP]", "a </s> b"} <= set(texts)
    assert max(len(text.split()) for text in texts) >= 128
    assert tokenizer_texts(["[SEP]"], 64) == tokenizer_texts(["[SEP]"], 64)
    assert set(AWKWARD) <= set(texts)
