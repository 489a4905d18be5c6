"""A template is learnt once for each form of conversation; tools and calls go through it, or the row is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerBase

from tests.backends.local.conftest import CHATML, TokenizerMaker
from tests.backends.local.families import (
    DEEPSEEK,
    EMPTY_THOUGHT,
    FAMILIES,
    Family,
    call,
    chat,
    supervised,
    template,
    tokenizer_of,
    tool,
)
from trainer.backends.local import forms
from trainer.backends.local.chat import encode
from trainer.backends.local.forms import write
from trainer.data.messages import Conversation, Message
from trainer.rundir import RunError

WARM = tool("warm")
ASKS = Message("assistant", "", tool_calls=(call("warm", city="Oslo"),))
QUESTION, RESULT, ANSWER = Message("user", "How warm?"), Message("tool", "12 C"), Message("assistant", "It is 12 C.")
LOOKUP = Conversation((QUESTION, ASKS, RESULT, ANSWER, Message("user", "Thanks"), Message("assistant", "Bye")), (WARM,))
HERMES = '<tool_call>\n{"name": "warm", "arguments": {"city": "Oslo"}}\n</tool_call><|im_end|>'


def learnt(tokenizer: PreTrainedTokenizerBase, talk: Conversation) -> list[str]:
    return supervised(tokenizer, encode(tokenizer, talk, 8192))


def count_renders(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the template was rendered since the last time asked."""
    calls: list[None] = []
    plain = tokenizer.apply_chat_template

    def counting(*args: object, **settings: object) -> object:
        calls.append(None)
        return plain(*args, **settings)

    def count() -> int:
        number = len(calls)
        calls.clear()
        return number

    monkeypatch.setattr(tokenizer, "apply_chat_template", counting)
    return count


@pytest.mark.parametrize("family", FAMILIES)
def test_a_known_form_is_rendered_once(
    family: str, make_tokenizer: TokenizerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tokenizer_of(family, make_tokenizer)
    count = count_renders(tokenizer, monkeypatch)
    write(tokenizer, chat("How?", "ls", "And?", "pwd"))
    assert count() > 1
    for talk in (chat("q", "a", "q2", "a2"), chat("ls", "ls ls", "ls", "ls"), chat("x" * 99, "y", "🙂", "two\nlines")):
        write(tokenizer, talk)
        assert count() == 1


def test_words_that_the_template_looks_for_make_a_form_of_their_own(
    make_tokenizer: TokenizerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tokenizer_of("qwen 3", make_tokenizer)
    count = count_renders(tokenizer, monkeypatch)
    first = chat("q", "<think>\nhm\n</think>\n\nls", "q", "<think>\nwell\n</think>\n\npwd")
    again = chat("Q", "<think>\nno\n</think>\n\nexit", "Q", "<think>\nyes\n</think>\n\nbye")
    write(tokenizer, first)
    count()
    assert learnt(tokenizer, again) == ["exit<|im_end|>", "<think>\nyes\n</think>\n\nbye<|im_end|>"]
    assert count() == 1


CURIOUS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + ('!' if 'yes' in m['content'] else '') + '\n'"
    " + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_a_template_that_looks_into_the_words_is_searched(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = make_tokenizer(CURIOUS)
    assert learnt(tokenizer, chat("yes?", "no", "no?", "no no")) == ["no<|im_end|>", "no no<|im_end|>"]
    turns = chat("yes?", "no", "no?", "no no").messages
    unlearnt = Conversation((turns[0], turns[1]._replace(learn=False), *turns[2:]))
    assert learnt(tokenizer, unlearnt) == ["no no<|im_end|>"]


def test_words_that_look_like_our_marks_do_no_harm(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of("qwen 2.5", make_tokenizer)
    assert learnt(tokenizer, chat("qz1zq qz0zq", "qz0zq", "qz9zq", "qz77777777777777zq")) == [
        "qz0zq<|im_end|>",
        "qz77777777777777zq<|im_end|>",
    ]
    odd = tool("qz99zq")
    odd["function"]["description"] = "qz0zq qz1zq " + "qz" + "9" * 5000 + "zq"
    assert learnt(tokenizer, Conversation(chat("How?", "ls").messages, (odd,))) == ["ls<|im_end|>"]


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("qwen 2.5", [HERMES, "It is 12 C.<|im_end|>", "Bye<|im_end|>"]),
        ("tiny", [HERMES, "It is 12 C.<|im_end|>", "Bye<|im_end|>"]),
        ("qwen 3", [HERMES, "It is 12 C.<|im_end|>", f"{EMPTY_THOUGHT}Bye<|im_end|>"]),
        ("llama 3.1",
         ['{"name": "warm", "parameters": {"city": "Oslo"}}<|eot_id|>', "It is 12 C.<|eot_id|>", "Bye<|eot_id|>"]),
        ("lfm 2.5", ["<|tool_call_start|>[warm(city='Oslo')]<|tool_call_end|><|im_end|>", "It is 12 C.<|im_end|>",
                     "Bye<|im_end|>"]),
        ("plain", ['Call: {"name": "warm", "arguments": {"city": "Oslo"}}<|endoftext|>', "It is 12 C.<|endoftext|>",
                   "Bye<|endoftext|>"]),
    ],
)  # fmt: skip
def test_the_calls_an_assistant_writes_are_learnt_and_results_are_not(
    family: str, expected: list[str], make_tokenizer: TokenizerMaker
) -> None:
    tokenizer = tokenizer_of(family, make_tokenizer)
    encoded = encode(tokenizer, LOOKUP, 8192)
    assert supervised(tokenizer, encoded) == expected
    text = str(tokenizer.decode(encoded.ids.tolist()))
    assert "12 C" in text
    assert "How warm it is" in text  # the tool's description


@pytest.mark.parametrize("family", ["qwen 2.5", "qwen 3", "tiny", "plain"])
def test_words_and_several_calls_in_one_answer(family: str, make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of(family, make_tokenizer)
    asks = Message("assistant", "Let me look.", tool_calls=(call("warm", city="Oslo"), call("warm", city="Rome")))
    first, second = learnt(tokenizer, Conversation((QUESTION, asks, RESULT, RESULT, ANSWER), (WARM,)))
    assert first.startswith("Let me look.\n")
    assert first.index("Oslo") < first.index("Rome")
    assert first.endswith(FAMILIES[family].ends)
    assert second.endswith("It is 12 C." + FAMILIES[family].ends)


def test_a_call_may_be_the_last_word(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of("qwen 3", make_tokenizer)
    assert learnt(tokenizer, Conversation((QUESTION, ASKS), (WARM,))) == [EMPTY_THOUGHT + HERMES]


def test_a_call_of_weight_0_is_read_and_not_learnt(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of("qwen 2.5", make_tokenizer)
    talk = Conversation((QUESTION, ASKS._replace(learn=False), RESULT, ANSWER), (WARM,))
    assert learnt(tokenizer, talk) == ["It is 12 C.<|im_end|>"]


def test_thoughts_stay_before_calls_and_go_when_the_next_question_comes(make_tokenizer: TokenizerMaker) -> None:
    tokenizer = tokenizer_of("qwen 3", make_tokenizer)
    thinks = ASKS._replace(content="<think>\nlook\n</think>\n\n")
    concludes = Message("assistant", "<think>\ngot it\n</think>\n\nIt is 12 C.")
    asked_once = (QUESTION, thinks, RESULT, concludes)
    assert learnt(tokenizer, Conversation(asked_once, (WARM,))) == [
        f"<think>\nlook\n</think>\n\n{HERMES}",
        "<think>\ngot it\n</think>\n\nIt is 12 C.<|im_end|>",
    ]
    asked_again = (*asked_once, Message("user", "Thanks"), Message("assistant", "Bye"))
    assert learnt(tokenizer, Conversation(asked_again, (WARM,))) == [
        HERMES,
        "It is 12 C.<|im_end|>",
        f"{EMPTY_THOUGHT}Bye<|im_end|>",
    ]


NO_TOOLS = "has no place for tools: choose a model that calls tools, or take the tools out of the data"


@pytest.mark.parametrize(
    ("family", "talk", "sentence"),
    [
        ("llama 3", Conversation((QUESTION, ANSWER), (WARM,)), NO_TOOLS),
        ("chatml", Conversation((QUESTION, ANSWER), (WARM,)), NO_TOOLS),
        ("llama 3", Conversation((QUESTION, ASKS)), "leaves out the assistant's tool calls"),
        ("chatml", Conversation((QUESTION, ASKS, RESULT, ANSWER)), "leaves out the assistant's tool calls"),
        ("phi 3", Conversation((QUESTION, ANSWER, RESULT, ANSWER)), "leaves out a tool's result"),
        ("gemma", LOOKUP, "Conversation roles must alternate"),
        ("mistral nemo", LOOKUP, "refuses a conversation: "),
        ("llama 3.1", Conversation((QUESTION, ASKS._replace(content="Let me look."), RESULT, ANSWER), (WARM,)),
         "leaves out the words beside a tool call"),
        ("llama 3.1", Conversation((QUESTION, ASKS._replace(tool_calls=ASKS.tool_calls * 2), RESULT, ANSWER), (WARM,)),
         "only supports single tool-calls"),
        ("deepseek r1", chat("q", "<think>\nhm\n</think>\n\nls"), "leaves out the reasoning of the last answer"),
    ],
)  # fmt: skip
def test_what_a_template_would_lose_is_refused_by_a_sentence(
    family: str, talk: Conversation, sentence: str, make_tokenizer: TokenizerMaker
) -> None:
    with pytest.raises(RunError) as caught:
        encode(tokenizer_of(family, make_tokenizer), talk, 8192)
    assert str(caught.value).startswith("The model's chat template ")
    assert sentence in str(caught.value)


def test_why_a_form_is_refused_is_found_out_once(
    make_tokenizer: TokenizerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tokenizer_of("gemma", make_tokenizer)
    count = count_renders(tokenizer, monkeypatch)
    for _ in range(3):
        with pytest.raises(RunError):
            write(tokenizer, LOOKUP)
    assert count() < 5


def test_arguments_are_text_for_a_template_that_takes_no_object(make_tokenizer: TokenizerMaker) -> None:
    family = Family(template("deepseekv3"), DEEPSEEK, DEEPSEEK[1], DEEPSEEK[1], DEEPSEEK[0])
    tokenizer = tokenizer_of(family, make_tokenizer)
    first, second = learnt(tokenizer, Conversation((QUESTION, ASKS, RESULT, ANSWER)))
    assert '```json\n{"city": "Oslo"}\n```' in first
    assert first.endswith("<｜tool▁calls▁end｜><｜end▁of▁sentence｜>")
    assert "12 C" not in first
    assert second == "It is 12 C.<｜end▁of▁sentence｜>"


NUMBERED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}{% if c['id'] | length != 9 %}{{ raise_exception('odd id') }}{% endif %}"
    "{{ c['id'] + c['function']['name'] + c['function']['arguments'] | tojson }}{% endfor %}"
    "{% if m['role'] == 'tool' %}{{ '(' + m['tool_call_id'] + ' ' + m['name'] + ')' }}{% endif %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_results_carry_the_number_and_name_of_their_call(make_tokenizer: TokenizerMaker) -> None:
    """Ids of nine letters and digits, as Mistral's templates demand."""
    asks = ASKS._replace(tool_calls=(call("warm", city="Oslo"), call("wet", city="Rome")))
    talk = Conversation(
        (QUESTION, asks, RESULT, Message("tool", "dry"), ASKS, Message("tool", "13", name="hot"), ANSWER)
    )
    text = write(make_tokenizer(NUMBERED), talk).text
    assert '\ncall00001warm{"city": "Oslo"}call00002wet{"city": "Rome"}<|im_end|>' in text
    assert "12 C(call00001 warm)" in text
    assert "dry(call00002 wet)" in text
    assert "13(call00003 hot)" in text


DATED = "{{ '<|im_start|>system\n' + strftime_now('%d %B %Y, %H:%M') + '<|im_end|>\n' }}" + CHATML


def test_the_same_row_is_the_same_text_on_every_day(
    make_tokenizer: TokenizerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = make_tokenizer(DATED)
    assert write(tokenizer, chat("How?", "ls")).text.startswith("<|im_start|>system\n26 July 2024, 00:00<|im_end|>\n")
    assert learnt(tokenizer, chat("How?", "ls")) == ["ls<|im_end|>"]
    count = count_renders(tokenizer, monkeypatch)
    write(tokenizer, chat("And?", "pwd"))
    assert count() == 1


def test_forms_are_not_kept_without_end() -> None:
    assert forms._learn.cache_info().maxsize == forms.FORMS
