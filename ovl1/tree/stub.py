"""A file whose metadata are in one layer and whose data are in a lower one (``metacopy``)."""

from __future__ import annotations

import os

from ovl1.linux.beneath import Directory


class StubDirectory(Directory):
    """A layer's directory in which one file is read as the view shows it.

    Args:
        directory: where the stub lies; stays the caller's.
        data: where the data are; closed with this one.
    """

    __slots__ = ("_data", "_data_name", "_name")

    def __init__(
        self, directory: Directory, name: bytes, data: Directory, data_name: bytes
    ) -> None:
        super().__init__(os.dup(directory.fd))
        self._name, self._data, self._data_name = name, data, data_name

    def close(self) -> None:
        """See `Directory`."""
        super().close()
        self._data.close()

    def open_file(self, name: bytes, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
        """See `Directory`."""
        if name == self._name:
            return self._data.open_file(self._data_name, flags, mode)
        return super().open_file(name, flags, mode)

    def lstat(self, name: bytes) -> os.stat_result:
        """See `Directory`; the blocks are those of the data."""
        status = super().lstat(name)
        if name != self._name:
            return status
        values = {key: getattr(status, key) for key in dir(status) if key.startswith("st_")}
        values["st_blocks"] = self._data.lstat(self._data_name).st_blocks
        return os.stat_result(tuple(status), values)

    def lends(self, name: bytes) -> bool:
        """See `Directory`."""
        return name != self._name
