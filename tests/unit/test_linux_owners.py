"""What the host calls owners."""

from __future__ import annotations

from ovl1.linux.owners import group_name, user_name


def test_who_is_known_and_who_is_not() -> None:
    assert (user_name(0), group_name(0)) == (b"root", b"root")
    assert (user_name(2**31 - 77), group_name(2**31 - 77)) == (b"", b"")
    assert (user_name(2**64), group_name(2**64)) == (b"", b"")
