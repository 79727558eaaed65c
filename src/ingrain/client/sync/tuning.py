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
        """Have the server find out how a loaded model runs fastest on its machine, and run it that way.

        It goes on when the caller goes away. Requests to the model are told to come again while its layout changes.

        Args:
            name: The model; it must be loaded.
            library: Where several models share a name.
            pretrained: Weight tag of an OpenCLIP model.
            seconds: How long it should take, as a goal and not as a limit; 30 if not given.

        Returns:
            How the model is executed now, and all that was measured.

        Raises:
            TuningInProgressError: It is being tuned already.
            TuningError: The engine failed meanwhile; the model is executed as before.
        """
        call = route_call(
            "tune_model",
            ModelTuningAnswer,
            ModelName(name, library, pretrained),
            {"seconds": seconds},
            timeout_s=self._options.load_timeout_s,
            repeatable=False,
        )
        return self._send(call)

    def reset_tuning(
        self, name: str, *, library: Library | None = None, pretrained: str | None = None
    ) -> types.MessageAnswer:
        """Have the server forget how a model was tuned there, and run it by default."""
        call = route_call("reset_tuning", types.MessageAnswer, ModelName(name, library, pretrained), repeatable=False)
        return self._send(call)

    def model_tuning(
        self, name: str, *, library: Library | None = None, pretrained: str | None = None
    ) -> ModelTuningAnswer:
        """Ask how a model is executed, and what its tuning measured."""
        return self._send(route_call("model_tuning", ModelTuningAnswer, ModelName(name, library, pretrained)))
