"""Opens the model of a bulk job: in this process, or through a running service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ingrain.bulk.wanted import Wanted
from ingrain.errors import SettingsError
from ingrain.install_hint import install_hint

if TYPE_CHECKING:
    from ingrain.bulk.local_model import LocalModel
    from ingrain.bulk.service_model import ServiceModel


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model of a bulk job runs.

    Attributes:
        url: Address of a service's inference plane; None to run the model in the process that has the data.
        api_key: Key of the service.
        repository: Folder or URL of the model repository; None for INGRAIN_REPOSITORY.
        threads: Cores that the model uses; with ``url``, requests in progress.
        on_gpu: Whether the model runs on a GPU.
    """

    url: str | None = None
    api_key: str | None = None
    repository: str | None = None
    threads: int = 1
    on_gpu: bool = False


def wanted_of(model: str, options: dict[str, object]) -> Wanted:
    """Return the wanted vectors of a model by keyword arguments.

    Raises:
        SettingsError: An argument is unknown or has a wrong value.
    """
    try:
        wanted = msgspec.convert({"model": model, **options}, Wanted)
    except msgspec.ValidationError as error:
        raise SettingsError(f"The options of the vectors cannot be used: {error}.") from error
    wanted.check()
    return wanted


def open_bulk_model(wanted: Wanted, place: Place) -> LocalModel | ServiceModel:
    """Open the model.

    Raises:
        SettingsError: What runs models is not installed here.
        IngrainError: The model cannot be opened.
    """
    if place.url is not None:
        from ingrain.bulk.service_model import ServiceModel

        return ServiceModel(wanted, place.url, api_key=place.api_key, concurrency=max(2, place.threads))
    try:
        from ingrain.bulk.local_model import LocalModel
    except ImportError as error:
        raise SettingsError(f"Running models needs more packages: {install_hint('serve')}.") from error
    return LocalModel(wanted, repository=place.repository, threads=place.threads, on_gpu=place.on_gpu)
