"""Numbers as words: durations, losses, counts, moments, sparklines; and text made harmless."""

from __future__ import annotations

from datetime import datetime
from math import inf, nan

import pytest

from tui import format
from tui.safe import safe


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (nan, "–"),
        (-5, "0:00"),
        (0.9, "0:00"),
        (187, "3:07"),
        (3599.9, "59:59"),
        (3600, "1h 00m"),
        (3720, "1h 02m"),
        (183_600, "2d 03h"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert format.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (2.41, "2.410"),
        (0.031214, "0.03121"),
        (12.3456, "12.35"),
        (1234.4, "1234"),
        (123456.0, "1.235e+05"),
        (0.0, "0.000"),
        (nan, "NaN"),
        (inf, "inf"),
        (-inf, "-inf"),
    ],
)
def test_loss_has_four_digits(value: float | None, text: str) -> None:
    assert format.loss(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(9.41e-4, "9.41e-4"), (1e-3, "1.00e-3"), (0.0, "0"), (0.1, "1.00e-1"), (nan, "NaN")]
)
def test_rate(value: float, text: str) -> None:
    assert format.rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950.4, "950"), (12345, "12,345"), (1_984_512, "1.98M"), (4.5e9, "4.50G"), (inf, "inf"), (None, "–")],
)
def test_count(value: float | None, text: str) -> None:
    assert format.count(value) == text


def test_when_is_told_from_now() -> None:
    now = datetime(2026, 11, 23, 15, 0).timestamp()

    def at(*moment: int) -> str:
        return format.when(datetime(*moment).timestamp(), now)  # type: ignore[arg-type]

    assert at(2026, 11, 23, 14, 12) == "today 14:12"
    assert at(2026, 11, 22, 23, 59) == "yesterday 23:59"
    assert at(2026, 11, 2, 8, 5) == "Nov 2 08:05"
    assert at(2025, 12, 31, 8, 5) == "2025-12-31"
    assert format.when(0.0, now) == "–"
    assert format.when(1e30, now) == "–"


def test_sparkline_spans_the_blocks_and_shows_gaps() -> None:
    assert format.sparkline([3.0, 2.0, 1.0], 10) == "█▅▁"
    assert format.sparkline([1.0, nan, 2.0], 10) == "▁·█"
    assert format.sparkline([5.0, 5.0], 10) == "▁▁"
    assert format.sparkline([nan, inf], 10) == "··"
    assert format.sparkline([], 10) == ""
    assert format.sparkline([1e308, -1e308], 4) == "··"


def test_sparkline_takes_means_where_it_is_narrow() -> None:
    assert format.sparkline([8.0, 8.0, 1.0, 1.0], 2) == "█▁"
    assert len(format.sparkline([float(i) for i in range(1000)], 24)) == 24


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [("abcdef", 6, "abcdef"), ("abcdefgh", 5, "ab…gh"), ("abcdefgh", 4, "ab…h"), ("abc", 1, "…"), ("abc", 0, "")],
)
def test_cut_middle(text: str, width: int, cut: str) -> None:
    assert format.cut_middle(text, width) == cut


def test_cut_middle_counts_cells() -> None:
    assert format.cut_middle("模型模型模型", 7) == "模型…型"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [bold]text[/]", "plain [bold]text[/]"),
        ("\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
        ("a\x9bb", "a\ufffdb"),
        ("a\u202eb\u2066c", "a\ufffdb\ufffdc"),
        ("\ud83d", "\ufffd"),
        ("a\u200bb\ufeff\U000e0041", "a·b··"),
        ("a\r\nb\tc\x00\x7f", "a\nb    c␀␡"),
        ("a" + "\u0301" * 9, "a" + "\u0301" * 3),
        ("日本語のテキスト", "日本語のテキスト"),
    ],
)
def test_safe(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_safe_on_one_line_and_cut() -> None:
    assert safe("a\nb\tc\r\n", one_line=True) == "a␊b c␊"
    assert safe("x" * 30_000) == "x" * 19_999 + "…"
    assert safe("abcdef", limit=3) == "ab…"


def test_nothing_safe_lets_through_is_a_control_character() -> None:
    everything = "".join(map(chr, range(0x110000)))
    shown = safe(everything, limit=len(everything))
    left = {c for c in shown if ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000}
    assert left == {"\n"}
