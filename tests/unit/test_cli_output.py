"""How text, sizes, tables and errors look, and that nothing hostile reaches the terminal."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovl1.cli import output
from ovl1.errors import Refused


class Terminal(io.StringIO):
    """Takes text and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ü 漢", "plain ü 漢"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egpj", r"\u202egpj"),
        ("\u2028", r"\u2028"),
        ("\udcff", r"\xff"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_escaping(text: str, expected: str) -> None:
    assert output.escaped(text) == expected


@given(st.text(st.characters()))
def test_escaped_text_is_one_harmless_line(text: str) -> None:
    found = output.escaped(text)
    assert found.isprintable() or " " in found or any(ord(char) > 0x7F for char in found)
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in found)
    found.encode()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (2282802, "2.28MB"),
        (999_600, "1000kB"),
        (10**15, "1PB"),
        (10**22, "10000EB"),
    ],
)
def test_sizes_are_dockers(size: int, expected: str) -> None:
    assert output.human_size(size) == expected


def test_a_piped_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["NAME", ">SIZE", "X"], [["漢", "1B", "\x1b"], ["long", "100B", ""]])
    assert capsys.readouterr().out == (
        "NAME  SIZE  X\n"  # The wide character takes two columns.
        "漢      1B  \\x1b\n"
        "long  100B\n"
    )


def test_a_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    output.print_table(["NAME", ">SIZE"], [["[red]\x1b[2J", "1B"]])
    # No markup is interpreted, and no escape of the value's own gets through.
    assert r"[red]\x1b[2J" in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()


def test_an_empty_table_has_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["A", "B"], [])
    assert capsys.readouterr().out == "A  B\n"


def test_json_is_stable_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"b": "\x1b\x7f\x9b\udcff", "a": [1, None]}
    output.print_json(value)
    text = capsys.readouterr().out
    assert text.index('"a"') < text.index('"b"')
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == value


def test_errors_have_three_parts(capsys: pytest.CaptureFixture[str]) -> None:
    error = Refused("no \x1b[0m", details="why\nand more", resolution="do this")
    output.print_error(error, as_json=False)
    assert capsys.readouterr().err == "ovl1: no \\x1b[0m\n  why\n  and more\n  do this\n"
    output.print_error(error, as_json=True)
    assert json.loads(capsys.readouterr().err) == {
        "error": {
            "brief": "no \x1b[0m",
            "details": "why\nand more",
            "resolution": "do this",
            "kind": "Refused",
            "exit_code": 3,
        }
    }


def test_progress_is_silent_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("Working", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal: Any = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with output.progress("Working", 3) as advance:
        advance(3)
    assert "Working" in terminal.getvalue()
