"""Custom sources that another server has fetched, beside those whose files are here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ingrain.errors import DamagedEntryError, MachineError
from ingrain.machine_faults import raise_if_machines
from ingrain.repository.contained import check_paths
from ingrain.repository.custom import DESCRIPTION_FILE, CustomSource, CustomSources
from ingrain.repository.durable import UNREADABLE
from ingrain.repository.object_storage.mirror import Mirror


class MirroredCustomSources(CustomSources):
    """Lists all custom sources of the object storage; ``find`` returns those whose files are here.

    Args:
        folder: ``<root>/custom``.
        mirror: The index of the object storage.
    """

    def __init__(self, folder: Path, mirror: Mirror) -> None:
        super().__init__(folder)
        self._mirror = mirror

    def described(self, key: str) -> CustomSource | None:
        """Return the description of a source in the object storage; None if there is none.

        Raises:
            DamagedEntryError: It cannot be read.
        """
        file = self._mirror.folder("custom", key) / DESCRIPTION_FILE
        try:
            source = msgspec.json.decode(file.read_bytes(), type=CustomSource)
        except FileNotFoundError:
            return None
        except (OSError, *UNREADABLE) as error:
            raise_if_machines(error)
            raise DamagedEntryError("The description of a custom model cannot be read.") from error
        check_paths(one.path for one in source.files)
        return source

    def entries(self) -> Iterator[tuple[str, CustomSource | DamagedEntryError | MachineError]]:
        """Yield every key with its source, or with the error of reading its description."""
        for key in self._mirror.keys("custom"):
            try:
                source = self.described(key)
            except (DamagedEntryError, MachineError) as error:
                yield key, error
            else:
                if source is not None:
                    yield key, source
