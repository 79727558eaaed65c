"""Classifies texts with a model's own labels, or with labels from the request by natural language inference."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ingrain.errors import InvalidRequestError, ModalityError, TooLargeError
from ingrain.pipeline.pipeline import Pipeline
from ingrain.pipeline.task import ModelName, RequestLimits, Rows
from ingrain.postprocess.probabilities import sigmoid, softmax
from ingrain.tasks.item_limit import check_count
from ingrain.tasks.pairs import Pairs
from ingrain.tasks.score import ROLE, Scored, ScorePairs
from ingrain.tasks.texts import MAX_ADDED_CHARS, Texts, check_texts

DEFAULT_HYPOTHESIS = "This example is {}."


def probabilities_of(done: Scored) -> Rows:
    """Return what transformers' text classification makes of logits, float32 ``[N, K]``.

    Independent probabilities for ``multi_label``, alternatives for ``single_label``, and the quantity itself for
    ``regression``.
    """
    functions = {"multi_label": sigmoid, "single_label": softmax}
    return functions.get(done.scoring.problem, np.asarray)(done.logits)


async def classify_zero_shot(
    pipeline: Pipeline,
    name: ModelName,
    texts: Texts,
    labels: Sequence[str],
    *,
    template: str = DEFAULT_HYPOTHESIS,
    multi_label: bool = False,
) -> tuple[Rows, Scored]:
    """Return the probability of each label for each text, float32 ``[N, K]``, and the logits of the pairs.

    As in transformers' zero-shot classification: each text is a premise, and each label makes a hypothesis of the
    template, in which it replaces ``{}``. Without ``multi_label``, softmax over the entailment logits of all labels;
    with it, or with a single label, softmax over contradiction and entailment for each label by itself. A pair that is
    too long loses the end of the text.

    Raises:
        ModalityError: The model's labels do not name an entailment.
        InvalidRequestError, TooLargeError: The labels or the template cannot be used.
    """
    started = time.monotonic()
    _check(pipeline.limits, texts, labels, template)
    model = await pipeline.model(name)
    model.queue(ROLE, "name", "classify texts")
    own = model.manifest.labels
    entailment = next((place for place, label in enumerate(own) if label.lower().startswith("entail")), None)
    if entailment is None or len(own) < 2:
        raise ModalityError(
            f"Model {name.name!r} cannot classify with labels of a request, which needs a model of natural language "
            f"inference with the label 'entailment'. Its labels are {', '.join(map(repr, own[:10]))}; POST "
            "/classify_text uses them.",
            param="name",
        )
    hypotheses = [template.replace("{}", label) for label in labels]
    count = len(hypotheses)
    places = [place for place in range(len(texts)) for _ in hypotheses]
    pairs = Pairs(
        firsts=Texts(
            texts=[texts.texts[place] for place in places],
            prompt=texts.prompt,
            truncate=texts.truncate,
            param=texts.param,
            places=places,
            is_list=texts.is_list,
            cache_group=texts.cache_group,
        ),
        seconds=Texts(texts=hypotheses * len(texts), param="labels", places=list(range(count)) * len(texts)),
        cut="only_first",
    )
    done = await pipeline.run(ScorePairs(name, pairs), started=started)
    logits = done.logits.reshape(len(texts), count, -1)
    if multi_label or count == 1:
        contradiction = len(own) - 1 if entailment == 0 else 0
        two = logits[:, :, [contradiction, entailment]].reshape(-1, 2)
        return softmax(two)[:, 1].reshape(len(texts), count), done
    return softmax(logits[:, :, entailment]), done


def _check(limits: RequestLimits, texts: Texts, labels: Sequence[str], template: str) -> None:
    """Refuse too many pairs and too long hypotheses, before the hypotheses are built."""
    if "{}" not in template:
        raise InvalidRequestError("hypothesisTemplate has no {} for the label.", param="hypothesisTemplate")
    check_texts(limits, texts)
    check_texts(limits, Texts(texts=labels, param="labels"))
    check_count(len(texts) * len(labels), limits.max_items, "labels", "texts times labels")
    holes, fixed = template.count("{}"), len(template)
    lengths = [fixed + holes * (len(label) - 2) for label in labels]
    if max(lengths) > limits.max_text_chars or sum(lengths) > MAX_ADDED_CHARS:
        raise TooLargeError(
            f"hypothesisTemplate makes the labels longer than {limits.max_text_chars} characters each "
            f"(INGRAIN_MAX_TEXT_CHARS) or {MAX_ADDED_CHARS} in all.",
            param="hypothesisTemplate",
            facts={"limit": limits.max_text_chars},
        )
