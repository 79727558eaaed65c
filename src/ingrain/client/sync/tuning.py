# Written by `make docs` from aio/tuning.py; change that one.
"""Methods that tune models for the server's machine."""

from __future__ import annotations

from ingrain.api import types
from ingrain.api.tuning import ModelTuningAnswer
from ingrain.client.requests import ModelName, route_call
from ingrain.client.sync.caller import Caller
from ingrain.vocabulary import Library


class Tuning(Caller):
    """Has models tuned."""

    def tune_model(
        self,
        name: str,
        *,
        library: Library | None = None,
        pretrained: str | None = None,
        seconds: float | None = None,
    ) -> ModelTuningAnswer:
        """Have the server find and apply the fastest execution of a loaded model on its machine.

        The tuning continues if the client disconnects. Requests to the model get 503 while its layout changes.

        Args:
            name: The model; it must be loaded.
            library: Source library, if several models share the name.
            pretrained: Weight tag of an OpenCLIP model.
            seconds: Target duration, not a limit; 30 if not given.

        Returns:
            The model's execution now, and all measurements.

        Raises:
            TuningInProgressError: The model is being tuned already.
            TuningError: The engine failed; the model is executed as before.
        """
        call = route_call(
            "tune_model",
            ModelTuningAnswer,
            ModelName(name, library, pretrained),
            {"seconds": seconds},
            timeout_s=self._options.load_timeout_s,
            repeatable=False,
            plane="model",
        )
        return self._send(call)

    def reset_tuning(
        self, name: str, *, library: Library | None = None, pretrained: str | None = None
    ) -> types.MessageAnswer:
        """Have the server delete a model's tuning for its machine, and restore the default execution."""
        call = route_call(
            "reset_tuning", types.MessageAnswer, ModelName(name, library, pretrained), repeatable=False, plane="model"
        )
        return self._send(call)

    def model_tuning(
        self, name: str, *, library: Library | None = None, pretrained: str | None = None
    ) -> ModelTuningAnswer:
        """Return a model's execution and the measurements of its tuning."""
        return self._send(
            route_call(
                "model_tuning", ModelTuningAnswer, ModelName(name, library, pretrained), method="GET", plane="model"
            )
        )
