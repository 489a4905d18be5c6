"""Which scripts a text is written in, at a glance: Latin 97 %, Han 2 %. Letters are counted, nothing else.

By the names that Unicode gives its characters; it knows scripts, not languages.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

OTHER = "other"
_NAMES = {
    "CJK": "Han",
    "IDEOGRAPHIC": "Han",
    "HIRAGANA": "Kana",
    "KATAKANA": "Kana",
    "HALFWIDTH": "Kana",
    "FULLWIDTH": "Latin",
    "FEMININE": "Latin",
    "MASCULINE": "Latin",
    "MICRO": "Greek",
    "MATHEMATICAL": OTHER,
    "MODIFIER": OTHER,
}


def count(characters: Mapping[str, int]) -> Counter[str]:
    """Letters by script, from how often each character occurs."""
    scripts: Counter[str] = Counter()
    for character, times in characters.items():
        if script := _script(character):
            scripts[script] += times
    return scripts


def shares(scripts: Mapping[str, int]) -> tuple[tuple[str, float], ...]:
    """(script, share of the letters), the most frequent first."""
    total = sum(scripts.values())
    ordered = sorted(scripts.items(), key=lambda item: (-item[1], item[0]))
    return tuple((script, times / total) for script, times in ordered)


@lru_cache(maxsize=50_000)
def _script(character: str) -> str:
    """ "" for what is no letter."""
    if not unicodedata.category(character).startswith("L"):
        return ""
    first = unicodedata.name(character, OTHER).split()[0]
    return _NAMES.get(first) or (first.capitalize() if first.isalpha() else OTHER)
