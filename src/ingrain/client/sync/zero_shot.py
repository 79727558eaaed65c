# Written by `make docs` from aio/zero_shot.py; change that one.
"""The method that classifies images by the caller's labels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ingrain.client.answers import ZeroShotProbabilities, zero_shot_of
from ingrain.client.pictures import Pictures, picture_calls, pictures_of
from ingrain.client.requests import Extra, ModelName
from ingrain.client.rows import RowOptions, RowsJob
from ingrain.client.sync.caller import Caller
from ingrain.vocabulary import Library


class ClassifyImageZeroShot(Caller):
    """Classifies images by labels given with the call."""

    def classify_image_zero_shot(
        self,
        name: str,
        image: Pictures,
        labels: list[str],
        *,
        templates: list[str] | None = None,
        image_download_headers: Mapping[str, str] | None = None,
        shrink: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        progress: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> ZeroShotProbabilities:
        """Classify any number of images by labels of your own, with a model that has a text and an image tower.

        ``labels`` are the classes to choose from. ``templates`` are sentences with ``{}`` for the label, whose vectors
        are averaged; without templates the label itself is embedded. The other args are those of ``embed_image``.

        Returns:
            ``probabilities`` ``[N, K]`` in the order of ``labels``.
        """
        model, pictures = ModelName(name, library, pretrained), pictures_of(image)
        fields = {
            "labels": labels,
            "templates": templates,
            **(extra or {}),
            "imageDownloadHeaders": image_download_headers,
        }
        options = RowOptions(
            as_numpy=self._as_numpy(return_numpy), may_be_raw=False, request_id=request_id, progress=progress
        )
        shrinker, route = self._shrink(model, shrink), "classify_image_zero_shot"
        calls = picture_calls(route, model, pictures, fields, options, shrinker)
        return self._run(RowsJob(calls, pictures, "pictures", options, partial(zero_shot_of, labels)))
