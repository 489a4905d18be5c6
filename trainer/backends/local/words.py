"""The tokens of a text by its words, each of which is looked up once: the tokenizer's own ids, several times as fast.

A byte-level BPE tokenizer cuts a text into words with a regular expression and makes tokens of each word by itself
(Radford et al. 2019), so that a word is always the same tokens. Most of its time goes into the cutting. Here Python's
own `re` cuts, and what a word becomes is asked of the tokenizer once.

It is exact or it is not used. The rules must be among those in CUTS, with nothing beside them; and every character that
turns up is first compared, in all kinds of company, with how the tokenizer itself cuts there. What Python's idea of a
letter, digit or space is not the tokenizer's for (², for one) goes the long way, and so does a text with it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from trainer.backends.local.spans import Span

MOST_WORDS = 200_000  # that are remembered; some 50 MB
# As tokenizers' files have them: GPT-2 (GPT-NeoX, Phi), Llama 3, Qwen 2; the last is what single digits and GPT-2's
# come to, one after the other (SmolLM2, StarCoder).
_NEWER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CUTS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    _NEWER % r"\p{N}{1,3}",
    _NEWER % r"\p{N}",
    r"\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+",
)
_DIGITS = {"type": "Digits", "individual_digits": True}
# The same in Python's words: for ASCII, which is fast, and for all scripts.
_OF_ASCII = {
    r"[^\s\p{L}\p{N}]": r"[^\sA-Za-z0-9]", r"[^\r\n\p{L}\p{N}]": r"[^\r\nA-Za-z0-9]", r"[^\s\p{N}]": r"[^\s0-9]",
    r"\p{L}": "[A-Za-z]", r"\p{N}": "[0-9]",
}  # fmt: skip
_OF_ALL = {
    r"[^\s\p{L}\p{N}]": r"(?:[^\s\w]|_)", r"[^\r\n\p{L}\p{N}]": r"(?:[^\r\n\w]|_)", r"[^\s\p{N}]": r"[^\s\d]",
    r"\p{L}": r"[^\W\d_]", r"\p{N}": r"\d",
}  # fmt: skip
# Where a character may stand; between them they tell a letter, digit, space, line break and sign from each other.
_COMPANY = (
    "{0}", "a{0}b", "1{0}2", "12{0}345", "!{0}!", " {0}", "{0} ", "  {0}  ", "{0}{0}", "{0}{0}{0}{0}", " {0}a", " {0}1",
    " {0}!", "{0}a", "\n{0}\n", "!\n{0}", "{0}\n", "{0}\r\n ", "'{0}", "'{0}e", "'l{0}", "'r{0}", "a'{0}b", "\t{0}\t",
)  # fmt: skip


class Words:
    """One tokenizer's. Raises ValueError where its rules are not known here."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        rules = json.loads(tokenizer.to_str())
        cut = _cut(rules)
        self._tokenizer = tokenizer
        self._ascii, self._any = _translated(cut, _OF_ASCII), _translated(cut, _OF_ALL)
        self._composed = rules["normalizer"] is not None
        special = {token["content"]: token["id"] for token in rules["added_tokens"]}
        longest_first = sorted(map(re.escape, special), key=len, reverse=True)
        self._special = re.compile(f"({'|'.join(longest_first)})" if special else r"((?!))")
        self._ids = _Remembered(tokenizer, special)
        self._good: set[str] = set()
        self._bad: set[str] = set()
        self._fits(set(map(chr, range(128))))
        if any(character.isprintable() or character in "\t\n\r" for character in self._bad):
            raise ValueError("another idea of ASCII")
        self._odd = re.compile(f"[{re.escape(''.join(sorted(self._bad)))}]" if self._bad else r"(?!)")

    def tokens(self, text: str, answers: Sequence[Span]) -> tuple[list[int], list[Span]] | None:
        """Ids and the runs of them that are answers; None where that has to be found out the long way."""
        words = self._words(text)
        if words is None:
            return None
        found = list(map(self._ids.__getitem__, words))
        ends = list(accumulate(map(len, words), initial=0))
        counts = list(accumulate(map(len, found), initial=0))
        places: list[int] = []
        for edge in chain.from_iterable(answers):
            at = bisect_left(ends, edge)
            if ends[at] != edge:  # within a word
                return None
            places.append(counts[at])
        return list(chain.from_iterable(found)), list(zip(places[::2], places[1::2], strict=True))

    def _words(self, text: str) -> list[str] | None:
        if text.isascii():
            if self._odd.search(text):
                return None
            cut = self._ascii.findall
        else:
            if not self._fits(set(text)) or (self._composed and not unicodedata.is_normalized("NFC", text)):
                return None
            cut = self._any.findall
        words: list[str] = []
        for number, part in enumerate(self._special.split(text)):
            if number % 2:
                words.append(part)
            else:
                words += cut(part)
        return words

    def _fits(self, characters: set[str]) -> bool:
        for character in characters - self._good - self._bad:
            same = all(self._same_cut(company.format(character)) for company in _COMPANY)
            (self._good if same else self._bad).add(character)
        return not characters & self._bad

    def _same_cut(self, text: str) -> bool:
        theirs = [piece for piece, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(text)]
        cuts = (self._ascii, self._any) if text.isascii() else (self._any,)
        return all([_spelled(word) for word in cut.findall(text)] == theirs for cut in cuts)


class _Remembered(dict[str, list[int]]):
    """Word → ids."""

    def __init__(self, tokenizer: Tokenizer, special: dict[str, int]) -> None:
        self._tokenizer, self._special = tokenizer, {word: [number] for word, number in special.items()}
        super().__init__(self._special)

    def __missing__(self, word: str) -> list[int]:
        if len(self) > MOST_WORDS:
            self.clear()
            self.update(self._special)
        self[word] = [token.id for token in self._tokenizer.model.tokenize(_spelled(word))]
        return self[word]


def words_of(tokenizer: PreTrainedTokenizerBase) -> Words | None:
    """None for a tokenizer whose rules are not known here."""
    return _words_of(tokenizer, len(tokenizer)) if tokenizer.is_fast and not tokenizer.split_special_tokens else None


@lru_cache(maxsize=4)
def _words_of(tokenizer: PreTrainedTokenizerBase, _size: int) -> Words | None:
    """Made anew for a tokenizer that has learnt a token since."""
    try:
        return Words(tokenizer.backend_tokenizer)
    except (ValueError, KeyError, TypeError):
        return None


def _cut(rules: dict[str, Any]) -> str:
    """The regular expression that a tokenizer cuts words by. Raises ValueError where anything else has a say."""
    model, before, added = rules["model"], rules["pre_tokenizer"], rules["added_tokens"]
    alike = not any(token["lstrip"] or token["rstrip"] or token["single_word"] for token in added)
    alike = alike and len({token["normalized"] for token in added}) <= 1
    plain = model["type"] == "BPE" and not any(
        model.get(name) for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    )
    if not (alike and plain) or rules["normalizer"] not in (None, {"type": "NFC"}):
        raise ValueError("another kind of tokenizer")
    parts = before["pretokenizers"] if before["type"] == "Sequence" else [before]
    *splits, bytes_ = parts
    gpt2 = not splits or splits == [_DIGITS]
    if bytes_["type"] != "ByteLevel" or bytes_["add_prefix_space"] or bytes_["use_regex"] is not gpt2:
        raise ValueError("another way to spell bytes")
    if gpt2:
        return CUTS[3] if splits else CUTS[0]
    (split,) = splits
    if (split["type"], split["behavior"], split["invert"]) != ("Split", "Isolated", False):
        raise ValueError("another way to cut")
    cut = str(split["pattern"]["Regex"])
    if cut not in CUTS[1:3]:
        raise ValueError("another cut")
    return cut


def _translated(cut: str, words: dict[str, str]) -> re.Pattern[str]:
    for theirs, ours in words.items():
        cut = cut.replace(theirs, ours)
    return re.compile(cut, re.ASCII if words is _OF_ASCII else 0)


def _byte_letters() -> dict[int, str]:
    """GPT-2's letter for every byte: itself where it can be seen, and the next free ones from 256 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + n) for n, byte in enumerate(unseen)}


_BYTES = _byte_letters()


def _spelled(word: str) -> str:
    return "".join([_BYTES[byte] for byte in word.encode()])
