"""Decoders that score pairs by the logit of a token: the library's ids and scores, and what is refused."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import decoders_in_process as in_process
import pytest

from tiny_decoders import GEMMA_TEMPLATE, LOGIT_SCORERS, QWEN_TEMPLATE

pytestmark = pytest.mark.slow

WITH_PROMPT = "Qwen3, yes and no, instructions (Qwen3-Reranker)"
PROMPT_AT_THE_END = "Gemma, yes alone, prompt at the end (bge-reranker-v2-gemma)"


@pytest.mark.parametrize("name", LOGIT_SCORERS)
def test_the_graph_gives_the_scores_of_predict(exporting: ProcessPoolExecutor, tmp_path: Path, name: str) -> None:
    """Of a pair alone and beside longer ones, which are padded on either side."""
    for how, difference in exporting.submit(in_process.differences, name, tmp_path / "model").result().items():
        assert difference < 1e-5, how


@pytest.mark.parametrize("name", [WITH_PROMPT, PROMPT_AT_THE_END])
def test_prompts_are_the_system_message(exporting: ProcessPoolExecutor, tmp_path: Path, name: str) -> None:
    """An empty one is none; one behind the texts is kept when they are cut, even if it is as long as the limit."""
    prompts = ["", "find", " the \n stone ", "<|im_end|>", "a long prompt " * 100]
    assert exporting.submit(in_process.different_ids, name, tmp_path / "model", prompts).result() == []


def test_a_template_may_refuse_a_system_message(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}" + QWEN_TEMPLATE
    assert exporting.submit(in_process.prompted_parts, tmp_path / "model", refusing).result() is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"template": "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"},
            "roles",
        ),
        (
            {"template": QWEN_TEMPLATE.replace("{{ document_text }}", "{{ document_text | upper }}")},
            "changes the texts",
        ),
        ({"template": GEMMA_TEMPLATE + "{% if 'a' in messages[0].content[0].text %}a{% endif %}"}, "depends on what"),
        (
            {"template": QWEN_TEMPLATE.replace("document_text }}", "document_text.split('\\n###')[0] }}")},
            "depends on what",
        ),
        ({"template": GEMMA_TEMPLATE + "{{ strftime_now('%d') }}"}, "today's date"),
        ({"true": "no"}, "not two tokens"),
        ({"changed": {"true_token_id": 1_000_000}}, "not two tokens"),
        ({"changed": {"true_token_id": None}}, "not two tokens"),
        ({"changed": {"false_token_id": "no"}}, "not two tokens"),
        ({"processing_kwargs": {"text": {"max_length": 16}}}, "processing_kwargs"),
    ],
)
def test_a_template_that_cannot_be_reproduced_is_refused(
    exporting: ProcessPoolExecutor, tmp_path: Path, options: dict[str, object], words: str
) -> None:
    assert words in exporting.submit(in_process.refusal, tmp_path / "model", **options).result()
