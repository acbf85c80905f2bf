"""What a plugin knows that must outlive its process, though not a reboot.

Docker initialises the driver once in its own life and never notices that the plugin was started
anew, so the last ``Init`` is kept. And it repeats a request whose connection broke with what is
left of the body, or with nothing: an ``ApplyDiff`` that broke off must not be followed by one that
seems to succeed, so each leaves a mark until it has been answered.

::

    <state>/plugin/<socket's hash>/init        the request, as it came
    <state>/plugin/<socket's hash>/<layer id>  an ApplyDiff that was begun and has not been answered
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path
from typing import Iterator, Optional, Set

from ovl1.errors import Refused
from ovl1.linux.durable import write_file
from ovl1.model import LayerId

_INIT = "init"


class Memory:
    """The memory of the plugin behind one socket.

    Args:
        state: a directory that a reboot empties, as it ends all mounts.
        socket: the path of the socket, which tells this plugin from others.
    """

    def __init__(self, state: Path, socket: Path) -> None:
        self._directory = state / "plugin" / hashlib.sha256(os.fsencode(socket)).hexdigest()[:32]
        self._changed = threading.Condition()
        self._busy: Set[LayerId] = set()

    @property
    def init(self) -> Optional[bytes]:
        """The body of the last ``Init`` that succeeded."""
        try:
            return (self._directory / _INIT).read_bytes()
        except FileNotFoundError:
            return None

    def remember(self, init: bytes) -> None:
        """Keep the body of an ``Init``."""
        self._make()
        write_file(self._directory / _INIT, init, mode=0o600)

    def forget(self) -> None:
        """Keep nothing: the daemon has ended, and another will introduce itself."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._directory):
                (self._directory / name).unlink()
            self._directory.rmdir()

    @contextlib.contextmanager
    def applying(self, layer_id: LayerId) -> Iterator[None]:
        """Mark the layer for the time of the block, and for ever if the block fails.

        Waits for another block with this layer to end.

        Raises:
            Refused: it is marked, so a block has failed, or was killed.
        """
        with self._alone(layer_id):
            self._make()
            mark = self._directory / layer_id
            try:
                os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            except FileExistsError:
                raise Refused(
                    f"an attempt to fill layer {layer_id.short} broke off",
                    details="What comes now may be only the rest of its tar.",
                    resolution="Begin anew, with another layer.",
                ) from None
            yield
            self.clear(layer_id)

    @contextlib.contextmanager
    def _alone(self, layer_id: LayerId) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: layer_id not in self._busy)
            self._busy.add(layer_id)
        try:
            yield
        finally:
            with self._changed:
                self._busy.discard(layer_id)
                self._changed.notify_all()

    def clear(self, layer_id: LayerId) -> None:
        """Forget the mark of a layer that is new now, or gone."""
        with contextlib.suppress(FileNotFoundError):
            (self._directory / layer_id).unlink()

    def _make(self) -> None:
        self._directory.mkdir(0o700, parents=True, exist_ok=True)
