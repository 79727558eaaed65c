# Written by `make docs` from aio/operations.py; change that one.
"""Methods that start loads without waiting for them, and follow, list and cancel them."""

from __future__ import annotations

from urllib.parse import quote

from ingrain.api.operations import OperationAnswer, OperationsAnswer
from ingrain.client.requests import ModelName, route_call
from ingrain.client.sync.caller import Caller
from ingrain.vocabulary import Library, Precision, Task


class Operations(Caller):
    """Loads models as operations."""

    def start_load(
        self,
        name: str,
        library: Library,
        pretrained: str | None = None,
        *,
        revision: str | None = None,
        precision: Precision | None = None,
        task: Task | None = None,
        pin: bool | None = None,
        keep_alive: float | str | None = None,
    ) -> OperationAnswer:
        """Start to load a model, and return at once; the arguments are those of ``load_model``.

        Returns:
            The operation, to be followed by ``operation``. A load that is in progress already is returned.
        """
        options = {"revision": revision, "precision": precision, "task": task, "pin": pin, "keep_alive": keep_alive}
        fields = {**options, "wait": False}
        model = ModelName(name, library, pretrained)
        return self._send(route_call("load_model", OperationAnswer, model, fields, plane="model", success=202))

    def operation(self, operation_id: str) -> OperationAnswer:
        """Return the progress of a load, or how it has ended.

        Raises:
            NotFoundError: There is no such operation, or it ended long ago.
        """
        path = f"operations/{quote(operation_id, safe='')}"
        return self._send(route_call(path, OperationAnswer, method="GET", plane="model"))

    def operations(self) -> OperationsAnswer:
        """List the loads that run or have ended, the last one first."""
        return self._send(route_call("operations", OperationsAnswer, method="GET", plane="model"))

    def cancel_operation(self, operation_id: str) -> OperationAnswer:
        """Stop a load; a model that was served before, in another precision, is still served.

        Raises:
            OperationEndedError: It has ended.
        """
        path = f"operations/{quote(operation_id, safe='')}/cancel"
        return self._send(route_call(path, OperationAnswer, repeatable=False, plane="model"))
