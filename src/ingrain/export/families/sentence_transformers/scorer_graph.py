"""Builds exportable torch modules for cross-encoders: token ids in, one row of logits out."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ingrain.export.families.sentence_transformers.text_graph import PipelineGraph, build_pipeline, step_of
from ingrain.export.model_files import unsupported


class LogitScoreStep(nn.Module):  # type: ignore[misc]  # torch has no types here, so its classes are Any
    """The source's ``LogitScore`` on the logits of the wanted tokens alone.

    Args:
        logits: Name of the feature with the logits, float32 ``[B, T, 2]``: of the token for "yes" and of that for "no".
            ``[B, T, 1]`` for a model with a token for "yes" alone.
    """

    def __init__(self, logits: str) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """Add the score, float32 ``[B, 1]``, at the last token that is not padding."""
        logits, mask = features[self.logits], features["attention_mask"]
        last = (torch.arange(mask.shape[1]) * mask).argmax(dim=1)[:, None, None].expand(-1, 1, logits.shape[2])
        row = logits.gather(1, last)[:, 0]
        score = row if row.shape[1] == 1 else row[:, :1] - row[:, 1:]
        return {**features, "scores": score}


def build_scorer_graph(model: Any) -> PipelineGraph:
    """Build the graph of a loaded ``CrossEncoder``; it shares the weights.

    Raises:
        UnsupportedModelError: A module or option is not supported.
    """
    return build_pipeline(list(model), _step, None, "scores", takes_messages=True)


def keep_wanted_rows(model: Any) -> None:
    """Replace the last layer of a decoder that scores by the logits of some tokens by its rows for these tokens.

    What the network's own code does with the logits (a scale, a soft limit) stays, and no row as long as the vocabulary
    is ever computed. The source can use the model again when it has been loaded again.

    Raises:
        UnsupportedModelError: The network's last layer cannot be replaced.
    """
    for part in model:
        if type(part).__name__ == "LogitScore":
            _keep_rows(model[0].model, wanted_tokens(part))


def wanted_tokens(part: Any) -> list[int]:
    """Return the ids of the tokens whose logits a ``LogitScore`` uses: "yes", and "no" if it has one."""
    return [token for token in (part.true_token_id, part.false_token_id) if token is not None]


def check_wanted_tokens(model: Any) -> None:
    """Raise if a decoder scores by tokens that its tokenizer does not have.

    sentence-transformers takes "yes" and "no" for a plain decoder, and the unknown token for those that are missing.

    Raises:
        UnsupportedModelError: A token is missing, or both are the same; or the network has no layer of logits.
    """
    for part in model:
        if type(part).__name__ != "LogitScore":
            continue
        tokens, unknown, head = wanted_tokens(part), model[0].tokenizer.unk_token_id, _head_of(model[0].model)
        known = range(head.out_features)  # what is not a number is not in it either
        wrong = [token for token in tokens if token not in known or token == unknown]
        if wrong or part.true_token_id is None or len(set(tokens)) < len(tokens):
            raise unsupported(
                f"The model scores by the logits of the tokens {tokens}, which are not two tokens of its vocabulary. "
                "Save it as a CrossEncoder with a LogitScore module that names the model's own tokens."
            )


def _step(part: Any) -> nn.Module:
    return LogitScoreStep(part.module_input_name) if type(part).__name__ == "LogitScore" else step_of(part)


def _head_of(network: Any) -> nn.Linear:
    """Return a network's last layer, which computes a logit for each token of the vocabulary."""
    head = network.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise unsupported(f"The network {type(network).__name__!r} has no linear layer of logits to score by.")
    return head


def _keep_rows(network: Any, tokens: list[int]) -> None:
    head = _head_of(network)
    rows = nn.Linear(head.in_features, len(tokens), bias=head.bias is not None)
    rows.weight = nn.Parameter(head.weight[tokens].clone(), requires_grad=False)
    if head.bias is not None:
        rows.bias = nn.Parameter(head.bias[tokens].clone(), requires_grad=False)
    network.set_output_embeddings(rows)
    if network.get_output_embeddings() is not rows:
        raise unsupported(f"The last layer of the network {type(network).__name__!r} cannot be cut to a few tokens.")
