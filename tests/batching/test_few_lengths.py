"""Lengths of batches that Triton can merge: few, near, and never too long."""

from hypothesis import given
from hypothesis import strategies as st

from ingrain.batching.few_lengths import few_length
from ingrain.batching.queue import BatchLimits, BatchQueue

lengths = st.integers(1, 100_000)


@given(lengths)
def test_padding_adds_less_than_a_sixteenth_and_nothing_to_short_texts(length):
    padded = few_length(length, 10**9)
    assert length <= padded < length * 17 / 16
    assert padded == length or length > 32


@given(lengths, lengths)
def test_no_text_is_padded_beyond_what_the_model_takes(length, most):
    assert few_length(length, most) <= max(length, most)


@given(lengths, lengths, lengths)
def test_a_longer_text_is_never_padded_to_less(first, second, most):
    shorter, longer = sorted((first, second))
    assert few_length(shorter, most) <= few_length(longer, most) or longer > most


@given(lengths, lengths)
def test_a_few_length_is_its_own(length, most):
    padded = few_length(length, most)
    assert few_length(padded, most) == padded


def test_they_are_few():
    assert len({few_length(length, 512) for length in range(1, 513)}) == 96
    assert {few_length(length, 510) for length in range(497, 511)} == {510}


def test_the_limits_of_a_batch_hold_for_what_it_is_padded_to():
    """Sixteen items of 33 tokens are 528, and 544 when padded to 34."""
    counts = {}
    for few_lengths_to in (None, 512):
        queue: BatchQueue[None] = BatchQueue(BatchLimits(max_tokens=528, few_lengths_to=few_lengths_to))
        queue.add(None, {33: range(20)})
        counts[few_lengths_to] = queue.take().count
    assert counts == {None: 16, 512: 15}
