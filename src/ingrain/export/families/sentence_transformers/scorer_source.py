"""Loads a cross-encoder or a text classifier and computes its reference scores with sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.export.families.protocol import Candidate, Description, Preparation, Source, Tower
from ingrain.export.families.sentence_transformers.chat_template import pair_template_of
from ingrain.export.families.sentence_transformers.checkpoint import (
    Accepted,
    Checkpoint,
    inspect,
    refuse_activation,
)
from ingrain.export.families.sentence_transformers.scorer_graph import (
    build_scorer_graph,
    check_wanted_tokens,
    keep_wanted_rows,
)
from ingrain.export.families.sentence_transformers.serving_tokenizer import save_transformer_tokenizer
from ingrain.export.families.sentence_transformers.source import load_in_float32, prepare_network
from ingrain.export.families.towers import transformer_recipes
from ingrain.export.model_files import unsupported
from ingrain.export.onnx.onnx_file import Recipe
from ingrain.export.process.job import ExportJob
from ingrain.export.proof.compare import Count
from ingrain.export.proof.score_references import Scored, ScoreReferences, ask_score_source
from ingrain.export.weights.independent_load import PROBES
from ingrain.preprocess.chat_pairs import open_pair_tokenizer
from ingrain.preprocess.text import TextPreprocessor
from ingrain.repository.manifest import Scoring

_ACCEPTED = Accepted(tasks=("feature-extraction", "sequence-classification", "text-generation"), messages=True)
_ACTIVATIONS: dict[str, Literal["identity", "sigmoid", "softmax", "tanh", "relu"]] = {
    "Identity": "identity",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "Tanh": "tanh",
    "ReLU": "relu",
}
_PROBLEMS: dict[str, Literal["single_label", "multi_label", "regression"]] = {
    "single_label_classification": "single_label",
    "multi_label_classification": "multi_label",
    "regression": "regression",
}


class ScorerSource(Source):
    """A loaded ``CrossEncoder``, which loads text classifiers of transformers, too."""

    library = "sentence-transformers"

    def __init__(self, checkpoint: Checkpoint, *, trust_remote_code: bool) -> None:
        self._checkpoint = checkpoint
        self._trust_remote_code = trust_remote_code
        super().__init__()
        self.parameters: int = sum(parameter.numel() for parameter in self.model.parameters())
        self.special_tokens: list[str] = list(self.model[0].tokenizer.all_special_tokens)

    def read_model(self, _: list[Any]) -> Any:
        """Have the library load the model in float32, whatever the type of the stored weights."""
        from sentence_transformers import CrossEncoder

        model = load_in_float32(CrossEncoder, self._checkpoint.folder, trusted=self._trust_remote_code)
        # Both refuse what the library would fail on.
        pair_template_of(model[0])
        check_wanted_tokens(model)
        return model

    def probe(self) -> list[NDArray[np.float32]]:
        """Return the logits of a pair and, unless the model makes a chat message of each pair, of a text."""
        texts: list[Scored] = [PROBES] if "message" in self.model[0].modality_config else [PROBES, PROBES[0]]
        return [self.score([text]) for text in texts]

    def describe(self, folder: Path) -> Description:
        """Write the serving tokenizer, and describe the scorer.

        Raises:
            UnsupportedModelError: A module, the activation or the tokenizer is not supported.
        """
        network = self.model[0].model
        if hasattr(network, "classification_head"):  # BART has a table of positions of a name of its own
            positions = getattr(network.config, "max_position_embeddings", None)
            self.model[0].max_seq_length = min(filter(None, (self.model[0].max_seq_length, positions)), default=None)
        template = pair_template_of(self.model[0])
        text = save_transformer_tokenizer(self.model, folder)
        if template is not None:  # it has the special tokens, too
            text = msgspec.structs.replace(text, pair_template=template, add_special_tokens=False)
        scoring = scoring_of(self.model)
        recipes = transformer_recipes(network)
        tower = Tower(
            role="text_scorer",
            label="text",
            title="The model",
            inputs=build_scorer_graph(self.model).inputs,
            output="logits",
            candidates=tuple(Candidate(recipe=recipe, build=partial(_graph, recipe)) for recipe in recipes),
            ask=partial(self._ask, scoring.problem != "single_label"),
            int8=True,
        )
        return Description(
            architecture=type(network).__name__,
            towers=(tower,),
            preparation=Preparation(folder=folder, text=text),
            labels=labels_of(self.model),
            scoring=scoring,
        )

    def tokenize(self, texts: Sequence[Scored]) -> dict[str, NDArray[np.int64]]:
        """Return the network's inputs, int64 ``[B, T]`` by name."""
        features = self.model.preprocess(list(texts))
        return {name: value.numpy() for name, value in features.items() if hasattr(value, "numpy")}

    def score(self, texts: Sequence[Scored], *, prompt: str | None = None) -> NDArray[np.float32]:
        """Return the logits of ``predict``, float32 ``[B, K]``; ``prompt`` None is the model's default."""
        import torch

        if isinstance(texts[0], str):  # `predict` would take several texts for one pair
            if prompt is None and self.model.default_prompt_name is not None:
                prompt = self.model.prompts.get(self.model.default_prompt_name)
            with torch.inference_mode():
                features = self.model.preprocess(list(texts), prompt=prompt)
                single: NDArray[np.float32] = self.model(features)["scores"].float().numpy()
            return single.reshape(len(texts), -1)
        scores: NDArray[np.float32] = self.model.predict(
            list(texts),
            prompt=prompt,
            batch_size=len(texts),
            activation_fn=torch.nn.Identity(),
            show_progress_bar=False,
        )
        return scores.reshape(len(texts), -1)

    def _ask(
        self,
        independent: bool,  # bound by partial
        prepared: Preparation,
        inputs: Sequence[str],
        tolerance: float,
        brief: bool,  # the signature of ``Tower.ask``
        count: Count,
    ) -> ScoreReferences:
        assert prepared.text is not None
        pairs = open_pair_tokenizer(TextPreprocessor(prepared.text, prepared.folder))
        return ask_score_source(
            self, pairs, inputs, independent=independent, tolerance=tolerance, report=count, brief=brief
        )


def open_source(job: ExportJob, folder: Path) -> ScorerSource:
    """Check and load a folder.

    Raises:
        UnsupportedModelError: The model cannot be converted.
    """
    trusted = bool(job.trust_remote_code)
    checkpoint = inspect(folder, trust_remote_code=trusted, accepted=_ACCEPTED)
    refuse_activation(checkpoint)
    return ScorerSource(checkpoint, trust_remote_code=trusted)


def labels_of(model: Any) -> tuple[str, ...]:
    """Return a name for each logit: those of the network's configuration, as transformers fills them in."""
    names = getattr(model[0].model.config, "id2label", None) or {}
    return tuple(str(names.get(number, f"LABEL_{number}")) for number in range(model.num_labels))


def scoring_of(model: Any) -> Scoring:
    """Return how a loaded ``CrossEncoder`` makes scores of its logits.

    Raises:
        UnsupportedModelError: Its activation function is not supported.
    """
    kind = type(model.activation_fn)
    if kind.__name__ not in _ACTIVATIONS or not kind.__module__.startswith("torch."):
        raise unsupported(
            f"The model's activation function {kind.__name__!r} is not supported; {', '.join(_ACTIVATIONS)} are."
        )
    named = str(getattr(model[0].model.config, "problem_type", None))
    # As in transformers' pipeline for text classification: a single logit is a probability by itself.
    default: Literal["single_label", "multi_label"] = "multi_label" if model.num_labels == 1 else "single_label"
    return Scoring(activation=_ACTIVATIONS[kind.__name__], problem=_PROBLEMS.get(named, default))


def _graph(recipe: Recipe, model: Any) -> Any:
    prepare_network(model[0].model, recipe)
    keep_wanted_rows(model)
    return build_scorer_graph(model)
