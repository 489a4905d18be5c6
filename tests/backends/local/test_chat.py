"""What is supervised: the assistant's words and the token that ends its turn, through templates in real use.

The templates are written out here as their model families publish them (shortened where that changes no text).
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizer, PreTrainedTokenizerBase

from tests.backends.local.conftest import CHATML, TokenizerMaker
from trainer.backends.local.chat import PLAIN_TEMPLATE, Encoded, encode
from trainer.backends.local.model import load_tokenizer
from trainer.data import Message
from trainer.models import ModelInfo
from trainer.rundir import RunError

LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
PHI3 = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
# The first Phi-3 templates left a system message out without a word.
PHI3_FIRST = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') %}"
    "{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}"
    "{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}"
)
QWEN2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As in the DeepSeek-R1 distillations and Qwen3: reasoning of earlier answers goes, so rendering is not prefix-stable.
REASONING = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{% set content = message['content'] %}"
    "{% if not loop.last and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>assistant\n' + content + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A template and how its family ends a turn; `trims`: it strips white space off an answer."""

    template: str
    specials: tuple[str, ...]
    eos: str
    turn_end: str
    bos: str | None = None
    trims: bool = False


IM = ("<|im_start|>", "<|im_end|>")
FAMILIES = {
    "chatml": Family(CHATML, IM, "<|im_end|>", "<|im_end|>"),
    "chatml, other eos": Family(CHATML, (*IM, "<|endoftext|>"), "<|endoftext|>", "<|im_end|>"),
    "llama 3": Family(
        LLAMA3,
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
        "<|eot_id|>",
        "<|begin_of_text|>",
        trims=True,
    ),
    "mistral": Family(MISTRAL, ("<s>", "</s>"), "</s>", "</s>", "<s>"),
    "gemma": Family(
        GEMMA,
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        "<eos>",
        "<end_of_turn>",
        "<bos>",
        trims=True,
    ),
    "phi 3": Family(
        PHI3,
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
        "<|endoftext|>",
        "<|end|>",
    ),
    "phi 3, first": Family(
        PHI3_FIRST,
        ("<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
        "<|endoftext|>",
        "<|end|>",
        "<s>",
    ),
    "qwen 2": Family(QWEN2, (*IM, "<|endoftext|>"), "<|im_end|>", "<|im_end|>"),
    "reasoning": Family(REASONING, (*IM, "<bos>"), "<|im_end|>", "<|im_end|>", "<bos>"),
    "plain": Family(PLAIN_TEMPLATE, ("<|endoftext|>",), "<|endoftext|>", "<|endoftext|>"),
    "plain, with bos": Family(PLAIN_TEMPLATE, ("<s>", "</s>"), "</s>", "</s>", "<s>"),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(params=[False, True], ids=["", "trimmed offsets"])
def tokenizer(
    request: pytest.FixtureRequest, family: Family, make_tokenizer: TokenizerMaker
) -> PreTrainedTokenizerBase:
    return tokenizer_of(family, make_tokenizer, trim=request.param)


def tokenizer_of(family: Family, make_tokenizer: TokenizerMaker, trim: bool = False) -> PreTrainedTokenizerBase:
    return make_tokenizer(family.template, family.specials, family.eos, family.bos, trim)


def chat(*turns: str, system: str | None = None) -> tuple[Message, ...]:
    """Turns in order, the user first."""
    roles = ("user", "assistant")
    said = tuple(Message(roles[place % 2], text) for place, text in enumerate(turns))
    return said if system is None else (Message("system", system), *said)


def supervised(tokenizer: PreTrainedTokenizerBase, encoded: Encoded) -> list[str]:
    """The text of every unbroken stretch of supervised tokens."""
    stretches: list[list[int]] = []
    before = False
    for token, inside in zip(encoded.ids.tolist(), encoded.supervised.tolist(), strict=True):
        if inside and not before:
            stretches.append([])
        if inside:
            stretches[-1].append(token)
        before = inside
    return [str(tokenizer.decode(stretch, clean_up_tokenization_spaces=False)) for stretch in stretches]


def plain_ids(tokenizer: PreTrainedTokenizerBase, messages: tuple[Message, ...]) -> list[int]:
    """What transformers itself makes of the conversation."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    ids: list[int] = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    return ids


CODE = "def f(x):\n    if x:\n        return  1\n    return 2"


@pytest.mark.parametrize(
    "answer",
    ["ls -la", CODE, "Grüße, 世界 🙂👩‍👩‍👧 é", "user", "a", "<b>not special</b>", "two\n\nparagraphs"],
)
def test_one_turn(tokenizer: PreTrainedTokenizerBase, family: Family, answer: str) -> None:
    messages = chat("How? 🙂", answer)
    encoded = encode(tokenizer, messages, 4096)
    assert encoded.ids.tolist() == plain_ids(tokenizer, messages)
    assert supervised(tokenizer, encoded) == [answer + family.turn_end]
    assert not encoded.cut


def test_several_turns(tokenizer: PreTrainedTokenizerBase, family: Family) -> None:
    answers = ("ls -la", "user", CODE)
    messages = chat("List files.", answers[0], "Who? Say user", answers[1], "ls -la\nWhat is that?", answers[2])
    encoded = encode(tokenizer, messages, 4096)
    assert encoded.ids.tolist() == plain_ids(tokenizer, messages)
    assert supervised(tokenizer, encoded) == [answer + family.turn_end for answer in answers]


@pytest.mark.parametrize("space", [" ", "  ", "    ", "\t"])
@pytest.mark.parametrize("where", ["before", "after"])
def test_spaces_around_an_answer(tokenizer: PreTrainedTokenizerBase, family: Family, space: str, where: str) -> None:
    answer = space + "ls" if where == "before" else "ls" + space
    messages = chat("How?", answer)
    encoded = encode(tokenizer, messages, 4096)
    assert encoded.ids.tolist() == plain_ids(tokenizer, messages)
    assert supervised(tokenizer, encoded) == [(answer.strip() if family.trims else answer) + family.turn_end]


def test_an_answer_that_begins_with_a_newline_loses_at_most_that(
    tokenizer: PreTrainedTokenizerBase, family: Family
) -> None:
    """The newline may melt into one token with the template's own; a token half the template's is not learnt."""
    (found,) = supervised(tokenizer, encode(tokenizer, chat("How?", "\n\nls"), 4096))
    assert found.lstrip("\n") == "ls" + family.turn_end
    assert len(found) - len(found.lstrip("\n")) <= 2


def test_the_system_message_is_in_the_text_and_not_supervised(
    tokenizer: PreTrainedTokenizerBase, family: Family
) -> None:
    """Also where the template refuses it (Gemma, Mistral) or leaves it out (the first Phi 3)."""
    encoded = encode(tokenizer, chat("How?", "ls", "And?", "pwd", system="Be terse."), 4096)
    assert supervised(tokenizer, encoded) == ["ls" + family.turn_end, "pwd" + family.turn_end]
    text = str(tokenizer.decode(encoded.ids.tolist(), clean_up_tokenization_spaces=False))
    assert text.count("Be terse.") == 1
    assert text.index("Be terse.") < text.index("How?")


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_empty_system_message_leaves_no_trace_in_the_question(
    tokenizer: PreTrainedTokenizerBase, family: Family, empty: str
) -> None:
    encoded = encode(tokenizer, chat("How?", "ls", system=empty), 4096)
    assert supervised(tokenizer, encoded) == ["ls" + family.turn_end]
    if family.template in (GEMMA, MISTRAL):
        assert encoded.ids.tolist() == plain_ids(tokenizer, chat("How?", "ls"))


def test_a_refused_system_message_before_an_assistant_stays_the_systems(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of(FAMILIES["gemma"], make_tokenizer)
    messages = (Message("system", "Greet."), Message("assistant", "Hello!"), *chat("Hi", "What now?"))
    encoded = encode(tokenizer, messages, 4096)
    assert supervised(tokenizer, encoded) == ["Hello!<end_of_turn>", "What now?<end_of_turn>"]


def test_a_conversation_that_the_template_refuses_is_one_sentence(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of(FAMILIES["gemma"], make_tokenizer)
    with pytest.raises(RunError, match=r"chat template refuses a conversation: Conversation roles must alternate"):
        encode(tokenizer, (Message("assistant", "Hello!"), *chat("Hi", "What now?")), 4096)


def test_reasoning_that_a_template_strips_is_learnt_in_the_last_answer_only(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of(FAMILIES["reasoning"], make_tokenizer)
    first, last = "<think>\nfirst\n</think>\n\nls", "<think>\nlast\n</think>\n\npwd"
    messages = chat("List, ls!", first, "Where?", last)
    encoded = encode(tokenizer, messages, 4096)
    assert encoded.ids.tolist() == plain_ids(tokenizer, messages)
    learnt = supervised(tokenizer, encoded)
    assert learnt[0] == "ls<|im_end|>"
    assert learnt[1].endswith("last\n</think>\n\npwd<|im_end|>")


def test_an_answer_that_the_question_quotes_is_found_in_its_own_place(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of(FAMILIES["phi 3"], make_tokenizer)
    messages = chat("Repeat: yes", "yes", "Is it yes or no?", "yes", "Bye", "yes")
    encoded = encode(tokenizer, messages, 4096)
    assert supervised(tokenizer, encoded) == ["yes<|end|>"] * 3
    before = str(tokenizer.decode(encoded.ids[: int(encoded.supervised.int().argmax())].tolist()))
    assert before.endswith("<|assistant|>\n")


def test_an_answer_that_the_template_rewrites_is_one_sentence(make_tokenizer: TokenizerMaker) -> None:
    shouting = "{% for m in messages %}{{ '[' ~ loop.length ~ m['role'] + ']' + m['content'] | upper }}{% endfor %}"
    with pytest.raises(RunError, match="can't be found again: 'whisper'"):
        encode(make_tokenizer(shouting), chat("How?", "whisper", "And?", "more"), 4096)


def test_a_long_conversation_is_cut_at_max_length(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = chat("How?", "word " * 40, "And?", "pwd")
    whole = encode(tokenizer, messages, 4096)
    for length in (8, 40, len(whole.ids) - 1, len(whole.ids), len(whole.ids) + 1):
        part = encode(tokenizer, messages, length)
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
    messages = chat("How?", "ls -la", "And\nthen?", "  pwd", system="Be terse.")
    assert not slow.is_fast
    encoded = encode(slow, messages, 4096)
    assert encoded.ids.tolist() == plain_ids(slow, messages)
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
    prompt: list[int] = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    encoded = encode(tokenizer, chat("How?", "ls"), 4096)
    learnt_from = int(encoded.supervised.int().argmax())
    if family.template != REASONING:  # its prompt opens a thought that this answer has not
        assert encoded.ids[:learnt_from].tolist() == prompt


def test_neither_template_nor_end_token_is_one_sentence(make_tokenizer: TokenizerMaker, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(None)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RunError, match="neither a chat template nor an end token"):
        load_tokenizer(info(tmp_path))
