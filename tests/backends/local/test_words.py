"""Tokens by words are the tokenizer's own, to the last id, whatever the text; or they are not given at all."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from trainer.backends.local import words as by_words
from trainer.backends.local.words import CUTS, Words, words_of

SAMPLE = (
    "It's 12345 o'clock, don't you know?", "def f(x):\n    return x**2  # why not\n", "  two  spaces\tand\ttabs",
    "Größe, naïve café — “quoted” ’s", "数据 结构，你好。", "Привет, МИР 2024", "a\r\n\r\n b\n\n\nc",
)  # fmt: skip
SPECIALS = ("<|im_start|>", "<|im_end|>", "<|im|>")
ASCII = [chr(code) for code in range(128)]
OTHERS = list(
    "’“”—…éüßñÅøſKİıΩЖя数据。，あ한عا٣४²½Ⅷ₂ªµ😀👍🏽\u0301\u200d\u200b\ufeff\u00a0\u2028\u2029\u3000\u0085\U0001e922"
)


def made(cut: str, **changes: Any) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer that cuts so, with merges over the sample."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=changes.get("ignore_merges", False)))
    gpt2 = cut in (CUTS[0], CUTS[3])
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=changes.get("prefix", False), use_regex=gpt2)
    if gpt2:
        digits = [pre_tokenizers.Digits(individual_digits=True)] if cut == CUTS[3] else []
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, bytes_]) if digits else bytes_
    else:
        split = pre_tokenizers.Split(Regex(cut), changes.get("behavior", "isolated"))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.normalizer = changes.get("normalizer")
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SAMPLE * 3, trainer)
    fast: PreTrainedTokenizerBase = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    return fast


@pytest.fixture(scope="module", params=CUTS, ids=["gpt 2", "llama 3", "qwen 2", "smollm 2"])
def cut(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tokenizer(cut: str) -> PreTrainedTokenizerBase:
    return made(cut)


def known(tokenizer: PreTrainedTokenizerBase) -> Words:
    words = words_of(tokenizer)
    assert words is not None
    return words


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def texts(seed: int, letters: Sequence[str], count: int = 300) -> list[str]:
    """Random ones, in which the same few characters stand beside each other often."""
    drawing = random.Random(seed)
    common = [" ", "\n", "'", "s", "1", "!", "a", "ll", "\r\n", *SPECIALS]
    pieces = [drawing.sample([*letters, *common], 6) + common for _ in range(count)]
    return ["".join(drawing.choices(some, k=drawing.randrange(1, 40))) for some in pieces]


@pytest.mark.parametrize("seed", range(3))
def test_any_ascii_text_has_the_tokenizers_own_ids(tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
    words = known(tokenizer)
    quick = 0
    for text in texts(seed, ASCII):
        found = words.tokens(text, [])
        if found is not None:
            assert found[0] == ids(tokenizer, text), repr(text)
            quick += 1
    assert quick > 250  # but for those with \x1c and the like


@pytest.mark.parametrize("seed", range(3))
def test_any_text_has_the_tokenizers_own_ids_or_goes_the_long_way(
    tokenizer: PreTrainedTokenizerBase, seed: int
) -> None:
    words = known(tokenizer)
    quick = 0
    for text in texts(seed, OTHERS):
        found = words.tokens(text, [])
        if found is not None:
            assert found[0] == ids(tokenizer, text), repr(text)
            quick += 1
    assert quick > 30


def test_usual_writing_goes_the_quick_way(tokenizer: PreTrainedTokenizerBase) -> None:
    words = known(tokenizer)
    for text in SAMPLE:
        found = words.tokens(text, [])
        assert found is not None
        assert found[0] == ids(tokenizer, text)


@pytest.mark.parametrize("character", ["²", "\x1c", "Ⅷ"])
def test_what_python_takes_for_something_else_goes_the_long_way(
    tokenizer: PreTrainedTokenizerBase, character: str
) -> None:
    assert known(tokenizer).tokens(f"a {character} b", []) is None


def test_answers_are_where_their_tokens_are(tokenizer: PreTrainedTokenizerBase) -> None:
    before, answer, behind = "<|im_start|>user\nHow’s it?<|im_end|>\n<|im_start|>", "ls -la 1234<|im_end|>", "\n"
    spans = [(len(before), len(before) + len(answer)), (0, len("<|im_start|>"))]
    found = known(tokenizer).tokens(before + answer + behind, spans)
    assert found is not None
    whole, ((begin, end), first) = found
    assert whole == ids(tokenizer, before + answer + behind)
    assert whole[begin:end] == ids(tokenizer, answer)
    assert first == (0, 1)


def test_an_answer_that_begins_within_a_word_goes_the_long_way(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "Assistant: yes"
    assert known(tokenizer).tokens(text, [(len("Assistant: "), len(text))]) is None
    assert known(tokenizer).tokens(text, [(len("Assistant:"), len(text))]) is not None
    assert known(tokenizer).tokens(text, [(0, len(text))]) is not None


def test_the_longest_special_token_is_taken_and_new_ones_are_known(cut: str) -> None:
    tokenizer = made(cut)
    text = "a<|im|><|im_end|>b <new><|im_end|"
    assert known(tokenizer).tokens(text, []) == (ids(tokenizer, text), [])
    before = ids(tokenizer, text)
    tokenizer.add_tokens(["<new>", "<new><|im_end|"], special_tokens=True)
    assert known(tokenizer).tokens(text, []) == (ids(tokenizer, text), [])
    assert ids(tokenizer, text) != before


def test_a_text_that_is_composed_otherwise_goes_the_long_way(cut: str) -> None:
    words = known(made(cut, normalizer=normalizers.NFC()))
    assert words.tokens("caf\u00e9", []) is not None
    assert words.tokens("cafe\u0301", []) is None
    assert words.tokens("\u212b", []) is None  # composed, but not so


def test_words_are_forgotten_before_they_are_too_many(cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_words, "MOST_WORDS", 20)
    tokenizer = made(cut)
    words = known(tokenizer)
    for number in range(200):
        text = f"<|im_start|>word{number} {number}"
        assert words.tokens(text, []) == (ids(tokenizer, text), [])
    assert len(words._ids) <= 22


def test_merges_that_are_left_out_for_whole_words_are_too(cut: str) -> None:
    tokenizer = made(cut, ignore_merges=True)
    for text in SAMPLE:
        assert known(tokenizer).tokens(text, []) == (ids(tokenizer, text), [])


@pytest.mark.parametrize(
    "changes",
    [
        {"prefix": True},
        {"normalizer": normalizers.Lowercase()},
        {"normalizer": normalizers.NFKC()},
        {"behavior": "removed"},
    ],
    ids=["space in front", "lower case", "nfkc", "words removed"],
)
def test_other_rules_are_not_known(changes: dict[str, Any]) -> None:
    assert words_of(made(CUTS[1], **changes)) is None


def test_other_kinds_of_tokenizer_are_not_known() -> None:
    other_cut = made(r"\w+|[^\w\s]+|\s+")
    lstripped = made(CUTS[0])
    lstripped.add_tokens([AddedToken("<mask>", lstrip=True)])
    metaspace = Tokenizer(models.BPE(vocab={"a": 0, "▁": 1}, merges=[]))
    metaspace.pre_tokenizer = pre_tokenizers.Metaspace()
    bare = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    pieces = Tokenizer(models.WordPiece(vocab={"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast = [PreTrainedTokenizerFast(tokenizer_object=one) for one in (metaspace, bare, pieces)]
    assert [words_of(one) for one in (other_cut, lstripped, *fast)] == [None] * 5
