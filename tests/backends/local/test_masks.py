"""Our mask beside the one transformers makes from {% generation %} marks, with the templates TRL trains with.

TRL's SFT asks `apply_chat_template(..., return_assistant_tokens_mask=True)` of a template that it swaps in. We train on
the model's own template, and where the two write the same text, our mask is TRL's but for what is named here.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerBase

from tests.backends.local.conftest import TokenizerMaker
from tests.backends.local.families import DEEPSEEK, EMPTY_THOUGHT, FAMILIES, Family, chat, template, tokenizer_of
from trainer.backends.local.chat import Encoded, encode
from trainer.data.messages import Conversation

DEEPSEEK_V3 = Family(template("deepseekv3"), DEEPSEEK, DEEPSEEK[1], DEEPSEEK[1], DEEPSEEK[0])
ONE = chat("How?", "ls -la\nTwo lines.")
TWO = chat("How?", "ls -la", "And?\nWell?", "pwd", system="Be terse.")

# Why TRL supervises more: (the stretch, as text) of every answer, and once behind the last.
STOPPED = "a line break behind the end token, which nothing writes: there the model has stopped"
HEADER = "the header before the answer, which the prompt holds"
MORE: dict[str, tuple[Family, list[str], list[str], str]] = {
    "llama3": (FAMILIES["llama 3"], [], [], "nothing"),
    "gemma": (FAMILIES["gemma"], ["\n"], [], STOPPED),
    "gemma3": (FAMILIES["gemma 3"], ["\n"], [], STOPPED),
    "phi3": (FAMILIES["phi 3"], ["\n"], ["<|endoftext|>"], f"{STOPPED}; and a second end token behind the last answer"),
    "qwen2_5": (FAMILIES["qwen 2.5"], ["\n", "\n"], [], f"{STOPPED}; and {HEADER}: its line break"),
    "qwen3": (FAMILIES["qwen 3"], ["\n"], [], STOPPED),
    "deepseekv3": (DEEPSEEK_V3, ["<｜Assistant｜>"], [], HEADER),
}


def theirs(tokenizer: PreTrainedTokenizerBase, talk: Conversation, name: str | None) -> tuple[list[int], list[int]]:
    """Ids and assistant mask with the template that TRL trains with, or with the tokenizer's own."""
    turns = [{"role": message.role, "content": message.content} for message in talk.messages]
    swapped = template(f"{name}_training") if name else None
    found = tokenizer.apply_chat_template(
        turns, chat_template=swapped, return_dict=True, return_assistant_tokens_mask=True
    )
    return found["input_ids"], found["assistant_masks"]


def more(tokenizer: PreTrainedTokenizerBase, ours: Encoded, mask: list[int]) -> list[str]:
    """The text of every stretch that they supervise and we don't; there is none the other way around."""
    stretches: list[list[int]] = [[]]
    for token, inside, marked in zip(ours.ids.tolist(), ours.supervised.tolist(), mask, strict=True):
        assert not inside or marked
        if marked and not inside:
            stretches[-1].append(token)
        elif stretches[-1]:
            stretches.append([])
    return [str(tokenizer.decode(stretch)) for stretch in stretches if stretch]


@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize("talk", [ONE, TWO], ids=["one turn", "two turns"])
def test_our_mask_is_trls_but_for_what_is_named(name: str, talk: Conversation, make_tokenizer: TokenizerMaker) -> None:
    family, each, last, _ = MORE[name]
    tokenizer = tokenizer_of(family, make_tokenizer)
    if family.merges and talk is TWO:
        talk = Conversation(talk.messages[1:])
    ours = encode(tokenizer, talk, 4096)
    ids, mask = theirs(tokenizer, talk, name)
    if name == "qwen3" and talk is TWO:  # TRL's writes an empty thought into the earlier answer too
        trained = replace(family, template=template("qwen3_training"))
        tokenizer = tokenizer_of(trained, make_tokenizer)
        assert str(tokenizer.decode(ids)).count(EMPTY_THOUGHT) == 2
        assert str(tokenizer.decode(ours.ids.tolist())).count(EMPTY_THOUGHT) == 1
        ours = encode(tokenizer, talk, 4096)
    assert ours.ids.tolist() == ids
    answers = sum(message.role == "assistant" for message in talk.messages)
    expected = "".join(each * answers + last)
    assert "".join(more(tokenizer, ours, mask)) == expected


@pytest.mark.parametrize("name", MORE)
def test_marks_change_nothing_of_what_is_learnt(name: str, make_tokenizer: TokenizerMaker) -> None:
    """The same mask from the template with marks as from the one without, where both write the same text."""
    family = MORE[name][0]
    marked = replace(family, template=template(f"{name}_training"))
    plain, other = (encode(tokenizer_of(one, make_tokenizer), ONE, 4096) for one in (family, marked))
    assert plain.ids.tolist() == other.ids.tolist()
    assert plain.supervised.tolist() == other.supervised.tolist()


def test_a_template_that_brings_marks_of_its_own(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of("lfm 2.5", make_tokenizer)
    ours = encode(tokenizer, TWO, 4096)
    ids, mask = theirs(tokenizer, TWO, None)
    assert ours.ids.tolist() == ids
    assert more(tokenizer, ours, mask) == ["\n", "\n"]
