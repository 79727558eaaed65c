# Written by `make docs` from aio/classify_image.py; change that one.
"""The method that classifies images by the model's own labels."""

from __future__ import annotations

from collections.abc import Mapping

from ingrain.client.answers import Probabilities, probabilities_of
from ingrain.client.pictures import Pictures, picture_calls, pictures_of
from ingrain.client.requests import Extra, ModelName
from ingrain.client.rows import RowOptions, RowsJob
from ingrain.client.sync.caller import Caller
from ingrain.vocabulary import Library


class ClassifyImage(Caller):
    """Classifies images by the labels of the model."""

    def classify_image(
        self,
        name: str,
        image: Pictures = (),
        image_download_headers: Mapping[str, str] | None = None,
        retries: int | None = None,
        *,
        shrink: bool = False,
        library: Library | None = None,
        pretrained: str | None = None,
        return_numpy: bool | None = None,
        progress: bool | None = None,
        request_id: str | None = None,
        extra: Extra = None,
    ) -> Probabilities:
        """Classify any number of pictures by the labels of the model (``model_classification_labels``).

        Args are those of ``embed_image``.

        Returns:
            ``probabilities`` ``[N, K]`` in the order of the labels.
        """
        model, pictures = ModelName(name, library, pretrained), pictures_of(image)
        fields = {**(extra or {}), "imageDownloadHeaders": image_download_headers}
        options = RowOptions(
            as_numpy=self._as_numpy(return_numpy),
            may_be_raw=False,
            request_id=request_id,
            progress=progress,
            retries=retries,
        )
        calls = picture_calls("classify_image", model, pictures, fields, options, self._shrink(model, shrink))
        return self._run(RowsJob(calls, pictures, "pictures", options, probabilities_of))
