"""What every open resource of ovl1 is: a context manager that closes itself at the end.

A subclass says in `close` what that means; closing twice does no harm.
"""

from __future__ import annotations

import abc
from types import TracebackType
from typing import Optional, Type, TypeVar

Self = TypeVar("Self", bound="Closing")


class Closing(abc.ABC):
    """Something that is open until the end of a `with` block."""

    __slots__ = ()

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what it holds; idempotent."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()
