"""What is supervised: the assistant's words and the token that ends its turn, through templates in real use."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizer, PreTrainedTokenizerBase

from tests.backends.local.conftest import CHATML, TokenizerMaker
from tests.backends.local.families import (
    FAMILIES,
    Family,
    chat,
    plain_ids,
    supervised,
    tokenizer_of,
)
from trainer.backends.local.chat import PLAIN_TEMPLATE, encode, encode_many
from trainer.backends.local.model import load_tokenizer
from trainer.backends.local.template import dated
from trainer.data.messages import Conversation, Message
from trainer.models import ModelInfo
from trainer.rundir import RunError


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(params=[False, True], ids=["", "trimmed offsets"])
def tokenizer(
    request: pytest.FixtureRequest, family: Family, make_tokenizer: TokenizerMaker
) -> PreTrainedTokenizerBase:
    return tokenizer_of(family, make_tokenizer, trim=request.param)


CODE = "def f(x):\n    if x:\n        return  1\n    return 2"


@pytest.mark.parametrize(
    "answer",
    ["ls -la", CODE, "Grüße, 世界 🙂👩‍👩‍👧 é", "user", "a", "<b>not special</b>", "two\n\nparagraphs"],
)
def test_one_turn(tokenizer: PreTrainedTokenizerBase, family: Family, answer: str) -> None:
    talk = chat("How? 🙂", answer)
    encoded = encode(tokenizer, talk, 4096)
    assert encoded.ids.tolist() == plain_ids(tokenizer, talk)
    assert supervised(tokenizer, encoded) == family.learnt(answer)
    assert not encoded.cut


def test_several_turns(tokenizer: PreTrainedTokenizerBase, family: Family) -> None:
    answers = ("ls -la", "user", CODE)
    talk = chat("List files.", answers[0], "Who? Say user", answers[1], "ls -la\nWhat is that?", answers[2])
    encoded = encode(tokenizer, talk, 4096)
    assert encoded.ids.tolist() == plain_ids(tokenizer, talk)
    assert supervised(tokenizer, encoded) == family.learnt(*answers)


@pytest.mark.parametrize("space", [" ", "  ", "    ", "\t"])
@pytest.mark.parametrize("where", ["before", "after"])
def test_spaces_around_an_answer(tokenizer: PreTrainedTokenizerBase, family: Family, space: str, where: str) -> None:
    answer = space + "ls" if where == "before" else "ls" + space
    talk = chat("How?", answer)
    encoded = encode(tokenizer, talk, 4096)
    assert encoded.ids.tolist() == plain_ids(tokenizer, talk)
    assert supervised(tokenizer, encoded) == family.learnt(answer)


def test_an_answer_that_begins_with_a_newline_loses_at_most_that(
    tokenizer: PreTrainedTokenizerBase, family: Family
) -> None:
    """The newline may melt into one token with the template's own; a token half the template's is not learnt."""
    found = supervised(tokenizer, encode(tokenizer, chat("How?", "\n\nls"), 4096))
    assert found in [family.learnt(newlines + "ls") for newlines in ("", "\n", "\n\n")]


def test_the_system_message_is_in_the_text_and_not_supervised(
    tokenizer: PreTrainedTokenizerBase, family: Family
) -> None:
    """Also where the template refuses it (Gemma, Mistral) or leaves it out (the first Phi 3)."""
    encoded = encode(tokenizer, chat("How?", "ls", "And?", "pwd", system="Be terse."), 4096)
    assert supervised(tokenizer, encoded) == family.learnt("ls", "pwd")
    text = str(tokenizer.decode(encoded.ids.tolist(), clean_up_tokenization_spaces=False))
    assert text.count("Be terse.") == 1
    assert text.index("Be terse.") < text.index("How?")


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_empty_system_message_leaves_no_trace_in_the_question(
    tokenizer: PreTrainedTokenizerBase, family: Family, empty: str
) -> None:
    encoded = encode(tokenizer, chat("How?", "ls", system=empty), 4096)
    assert supervised(tokenizer, encoded) == family.learnt("ls")
    if family.merges:
        assert encoded.ids.tolist() == plain_ids(tokenizer, chat("How?", "ls"))


def test_a_refused_system_message_before_an_assistant_stays_the_systems(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of(FAMILIES["gemma"], make_tokenizer)
    opening = (Message("system", "Greet."), Message("assistant", "Hello!"))
    encoded = encode(tokenizer, Conversation((*opening, *chat("Hi", "What now?").messages)), 4096)
    assert supervised(tokenizer, encoded) == ["Hello!<end_of_turn>", "What now?<end_of_turn>"]


def test_a_conversation_that_the_template_refuses_is_one_sentence(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of(FAMILIES["gemma"], make_tokenizer)
    with pytest.raises(RunError, match=r"chat template refuses a conversation: Conversation roles must alternate"):
        encode(tokenizer, Conversation((Message("assistant", "Hello!"), *chat("Hi", "What now?").messages)), 4096)


def test_reasoning_that_a_template_strips_is_learnt_in_the_last_answer_only(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of(FAMILIES["reasoning"], make_tokenizer)
    first, last = "<think>\nfirst\n</think>\n\nls", "<think>\nlast\n</think>\n\npwd"
    talk = chat("List, ls!", first, "Where?", last)
    encoded = encode(tokenizer, talk, 4096)
    assert encoded.ids.tolist() == plain_ids(tokenizer, talk)
    learnt = supervised(tokenizer, encoded)
    assert learnt[0] == "ls<|im_end|>"
    assert learnt[1].endswith("last\n</think>\n\npwd<|im_end|>")


def test_an_answer_that_the_question_quotes_is_found_in_its_own_place(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of(FAMILIES["phi 3"], make_tokenizer)
    talk = chat("Repeat: yes", "yes", "Is it yes or no?", "yes", "Bye", "yes")
    encoded = encode(tokenizer, talk, 4096)
    assert supervised(tokenizer, encoded) == ["yes<|end|>"] * 3
    before = str(tokenizer.decode(encoded.ids[: int(encoded.supervised.int().argmax())].tolist()))
    assert before.endswith("<|assistant|>\n")


def test_an_answer_that_the_template_rewrites_is_one_sentence(make_tokenizer: TokenizerMaker) -> None:
    shouting = "{% for m in messages %}{{ '[' ~ loop.length ~ m['role'] + ']' + m['content'] | upper }}{% endfor %}"
    with pytest.raises(RunError, match="changes the assistant's answers so that they can't be found again"):
        encode(make_tokenizer(shouting), chat("How?", "whisper", "And?", "more"), 4096)


def test_a_long_conversation_is_cut_at_max_length(tokenizer: PreTrainedTokenizerBase) -> None:
    talk = chat("How?", "word " * 40, "And?", "pwd")
    whole = encode(tokenizer, talk, 4096)
    for length in (8, 40, len(whole.ids) - 1, len(whole.ids), len(whole.ids) + 1):
        part = encode(tokenizer, talk, length)
        assert part.ids.tolist() == whole.ids[:length].tolist()
        assert part.supervised.tolist() == whole.supervised[:length].tolist()
        assert part.cut == (length < len(whole.ids))
        assert part.targets == int(part.supervised.sum())


SPELLABLE = "\n" + string.printable[:95]


class LetterTokenizer(PreTrainedTokenizer):  # type: ignore[misc]
    """A tokenizer in plain Python, as some models bring: a token a character, and the special ones."""

    vocab_files_names: dict[str, str] = {}

    def __init__(self, **settings: Any) -> None:
        self._characters = dict(zip(SPELLABLE, range(len(SPELLABLE)), strict=True))
        super().__init__(**settings)

    @property
    def vocab_size(self) -> int:
        return len(SPELLABLE)

    def get_vocab(self) -> dict[str, int]:
        return {**self._characters, **self.added_tokens_encoder}

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return self._characters[token]

    def _convert_id_to_token(self, index: int) -> str:
        return SPELLABLE[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)


@pytest.mark.parametrize("template", [CHATML, PLAIN_TEMPLATE], ids=["chatml", "plain"])
def test_a_tokenizer_without_a_fast_version(template: str) -> None:
    slow = LetterTokenizer(eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"])
    slow.chat_template = template
    talk = chat("How?", "ls -la", "And\nthen?", "  pwd", system="Be terse.")
    assert not slow.is_fast
    encoded = encode(slow, talk, 4096)
    assert encoded.ids.tolist() == plain_ids(slow, talk)
    assert supervised(slow, encoded) == ["ls -la<|im_end|>", "  pwd<|im_end|>"]


def info(folder: Path) -> ModelInfo:
    return ModelInfo("small", "folder", str(folder), None)


def test_a_model_without_a_template_gets_the_plain_one(make_tokenizer: TokenizerMaker, tmp_path: Path) -> None:
    make_tokenizer(None, ("<|endoftext|>",), "<|endoftext|>").save_pretrained(tmp_path)
    tokenizer, note = load_tokenizer(info(tmp_path))
    assert "no chat template" in note
    assert tokenizer.chat_template == PLAIN_TEMPLATE
    tokenizer.save_pretrained(tmp_path / "result")
    again, note = load_tokenizer(info(tmp_path / "result"))
    assert (again.chat_template, note) == (PLAIN_TEMPLATE, "")


def test_a_prompt_is_the_beginning_of_what_was_learnt(tokenizer: PreTrainedTokenizerBase, family: Family) -> None:
    """The prompt's tokens are those before the answer in training, else the model is asked in a foreign way."""
    turns = [{"role": "user", "content": "How?"}]
    template = dated(tokenizer.get_chat_template())
    prompt: list[int] = tokenizer.apply_chat_template(
        turns, chat_template=template, add_generation_prompt=True, return_dict=False
    )
    encoded = encode(tokenizer, chat("How?", "ls"), 4096)
    learnt_from = int(encoded.supervised.int().argmax())
    if not family.asks_for_thought:  # which this answer has not
        assert encoded.ids[:learnt_from].tolist() == prompt


def test_neither_template_nor_end_token_is_one_sentence(make_tokenizer: TokenizerMaker, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(None)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RunError, match="neither a chat template nor an end token"):
        load_tokenizer(info(tmp_path))


def test_raw_text_is_learnt_as_a_whole_and_ends_in_the_end_token(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = make_tokenizer()
    text = "Where am I?\n\nls -la, 世界 "
    encoded = encode(tokenizer, Conversation((), text=text), 4096)
    assert encoded.ids.tolist() == [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    assert encoded.supervised.all()
    assert not encoded.cut
    assert encoded.targets == len(encoded.ids) - 1


def test_raw_text_begins_as_the_tokenizer_begins_a_text(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = make_tokenizer(CHATML, ("<s>", "</s>"), "</s>", "<s>")
    tokenizer.add_bos_token = True
    tokenizer.update_post_processor()
    encoded = encode(tokenizer, Conversation((), text="ls"), 4096)
    assert encoded.ids.tolist() == [*tokenizer("ls")["input_ids"], tokenizer.eos_token_id]
    assert encoded.ids[0] == tokenizer.bos_token_id
    assert encoded.ids.tolist().count(tokenizer.bos_token_id) == 1
    assert supervised(tokenizer, encoded) == ["ls</s>"]


def test_a_long_text_is_cut_and_keeps_no_end_token(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = make_tokenizer()
    encoded = encode(tokenizer, Conversation((), text="ls -la " * 100), 8)
    assert len(encoded.ids) == 8
    assert encoded.cut
    assert tokenizer.eos_token_id not in encoded.ids.tolist()


def test_an_answer_of_weight_0_is_read_and_not_learnt(tokenizer: PreTrainedTokenizerBase, family: Family) -> None:
    talk = chat("How?", "ls", "And?", "pwd", "Bye", "exit")
    turns = list(talk.messages)
    turns[3] = turns[3]._replace(learn=False)
    encoded = encode(tokenizer, Conversation(tuple(turns)), 4096)
    assert encoded.ids.tolist() == plain_ids(tokenizer, talk)
    learnt = family.learnt("ls", "pwd", "exit")
    assert supervised(tokenizer, encoded) == [learnt[0], learnt[2]]


def test_many_at_once_are_what_each_is_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    talks = [
        chat("How?", "ls"),
        Conversation((), text="raw text"),
        chat("How?", "ls -la", "And?", "🙂 pwd"),
        Conversation((Message("user", "Hi"), Message("gnome", "?"), Message("assistant", "no"))),
        chat("a", "b", system="c"),
    ]
    many = encode_many(tokenizer, talks, 12)
    assert len(many) == len(talks)
    for talk, found in zip(talks, many, strict=True):
        if isinstance(found, RunError):
            with pytest.raises(RunError) as caught:
                encode(tokenizer, talk, 12)
            assert str(caught.value) == str(found)
        else:
            alone = encode(tokenizer, talk, 12)
            assert (alone.ids.tolist(), alone.supervised.tolist()) == (found.ids.tolist(), found.supervised.tolist())
            assert alone.cut == found.cut


def test_none_at_once(make_tokenizer: TokenizerMaker) -> None:
    assert encode_many(make_tokenizer(), [], 12) == []
