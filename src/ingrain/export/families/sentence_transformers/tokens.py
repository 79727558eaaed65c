"""Describes and proves the network of an embedding model alone, which gives a vector for each token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingrain.export.families.protocol import Description, Preparation
from ingrain.export.families.sentence_transformers.checkpoint import inspect
from ingrain.export.families.sentence_transformers.source import SentenceTransformersSource
from ingrain.export.families.sentence_transformers.token_graph import build_token_graph
from ingrain.export.families.sentence_transformers.token_tower import token_candidates, token_tower
from ingrain.export.model_files import unsupported
from ingrain.export.process.job import ExportJob
from ingrain.export.proof.compare import Count
from ingrain.export.proof.text_references import source_padding_diff
from ingrain.export.proof.token_references import Side, TokenReferences, ask_token_source
from ingrain.preprocess.text import TextPreprocessor


class TokensSource(SentenceTransformersSource):
    """A loaded embedding model whose token vectors are served."""

    def describe(self, folder: Path) -> Description:
        """Write the serving tokenizer, and describe the tower that embeds tokens.

        Raises:
            UnsupportedModelError: A module or the tokenizer is not supported, or the model has no vectors of tokens.
        """
        if self.is_static:
            raise unsupported("The model is a table of vectors, whose tokens have no others than those in it.")
        text = self.save_tokenizer(folder)
        build = partial(build_token_graph, stop_at_pooling=True)
        tower = token_tower(
            role="token_encoder",
            title="The model",
            inputs=build(self.model).inputs,
            candidates=token_candidates(self.model, build),
            ask=self._asked,
        )
        return Description(
            architecture=type(self.model[0].model).__name__,
            towers=(tower,),
            preparation=Preparation(folder=folder, text=text),
        )

    def embed_tokens(self, texts: Sequence[str], prompt: str | None = None) -> list[NDArray[np.float32]]:
        """Return what ``encode`` gives as ``token_embeddings``, float32 ``[t, D]`` for each text."""
        found = self.model.encode(
            list(texts), prompt=prompt, batch_size=1, show_progress_bar=False, output_value="token_embeddings"
        )
        return [vectors.numpy() for vectors in found]

    def _asked(
        self, prepared: Preparation, inputs: Sequence[str], tolerance: float, brief: bool, report: Count
    ) -> TokenReferences:
        assert prepared.text is not None
        side = Side(
            preprocessor=TextPreprocessor(prepared.text, prepared.folder),
            default_prompt=None,
            embed=self.embed_tokens,
            tokenize=self.tokenize,
        )
        padding_diff = source_padding_diff(self)
        return ask_token_source(
            self, [side], inputs, tolerance=tolerance, padding_diff=padding_diff, report=report, brief=brief
        )


def open_source(job: ExportJob, folder: Path) -> TokensSource:
    """Check and load a folder.

    Raises:
        UnsupportedModelError: The model cannot be converted.
    """
    trusted = bool(job.trust_remote_code)
    return TokensSource(inspect(folder, trust_remote_code=trusted), name=job.name, trust_remote_code=trusted)
