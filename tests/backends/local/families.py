"""Families of models: the template they publish, the tokens it writes, and what of an answer it lets the model write.

Templates in files are those of tests/templates; those written out here are shortened where that changes no text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from tests.backends.local.conftest import CHATML, TokenizerMaker
from trainer.backends.local.chat import PLAIN_TEMPLATE, Encoded
from trainer.backends.local.template import dated
from trainer.data.messages import Call, Conversation, Message, Tool

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "tests" / "templates"
TINY = (ROOT / "presets" / "models" / "tiny" / "chat_template.jinja").read_text(encoding="utf-8")


def template(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


# The first Phi-3 templates left a system message out without a word.
PHI3_FIRST = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') %}"
    "{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}"
    "{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}"
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
    """`ends`: what ends a turn; `trims`: it strips white space off an answer; `leads`: what it puts before each
    answer that no prompt holds, so that the model writes it; `thinks`: the same before the last answer only."""

    template: str
    specials: tuple[str, ...]
    eos: str
    ends: str
    bos: str | None = None
    trims: bool = False
    leads: str = ""
    thinks: str = ""
    merges: bool = False  # it refuses a system message
    asks_for_thought: bool = False  # its prompt ends in <think>

    def learnt(self, *answers: str) -> list[str]:
        """The text that is supervised for each of the answers, in order."""
        texts = [self.leads + (answer.strip() if self.trims else answer) + self.ends for answer in answers]
        return [*texts[:-1], self.thinks + texts[-1]]


IM = ("<|im_start|>", "<|im_end|>")
LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
GEMMA = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
INST = ("<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")
PHI = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>")
DEEPSEEK = (
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>",
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>",
    "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>",
)  # fmt: skip
EMPTY_THOUGHT = "<think>\n\n</think>\n\n"

FAMILIES = {
    "chatml": Family(template("chatml"), IM, "<|im_end|>", "<|im_end|>"),
    "chatml, other eos": Family(CHATML, (*IM, "<|endoftext|>"), "<|endoftext|>", "<|im_end|>"),
    "llama 3": Family(template("llama3"), LLAMA, "<|eot_id|>", "<|eot_id|>", "<|begin_of_text|>", trims=True),
    "llama 3.1": Family(template("llama3_1"), LLAMA, "<|eot_id|>", "<|eot_id|>", "<|begin_of_text|>", trims=True),
    "mistral 1": Family(template("mistral_v1"), INST, "</s>", "</s>", "<s>", leads=" ", merges=True),
    "mistral nemo": Family(template("mistral_v3_tekken"), INST, "</s>", "</s>", "<s>", merges=True),
    "mistral small": Family(template("mistral_v7_tekken"), INST, "</s>", "</s>", "<s>"),
    "gemma": Family(template("gemma"), GEMMA, "<eos>", "<end_of_turn>", "<bos>", trims=True, merges=True),
    "gemma 3": Family(template("gemma3"), GEMMA, "<eos>", "<end_of_turn>", "<bos>", trims=True),
    "phi 3": Family(template("phi3"), PHI, "<|endoftext|>", "<|end|>"),
    "phi 3, first": Family(PHI3_FIRST, ("<s>", *PHI), "<|endoftext|>", "<|end|>", "<s>", merges=True),
    "qwen 2.5": Family(template("qwen2_5"), (*IM, "<|endoftext|>"), "<|im_end|>", "<|im_end|>"),
    "qwen 3": Family(template("qwen3"), (*IM, "<|endoftext|>"), "<|im_end|>", "<|im_end|>", thinks=EMPTY_THOUGHT),
    "deepseek r1": Family(
        template("deepseek_r1_distill"), DEEPSEEK, DEEPSEEK[1], DEEPSEEK[1], DEEPSEEK[0], asks_for_thought=True
    ),
    "lfm 2.5": Family(template("lfm2_2_5"), (*IM, "<|startoftext|>"), "<|im_end|>", "<|im_end|>", "<|startoftext|>"),
    "reasoning": Family(REASONING, (*IM, "<bos>"), "<|im_end|>", "<|im_end|>", "<bos>", asks_for_thought=True),
    "tiny": Family(TINY, ("<|endoftext|>", *IM), "<|im_end|>", "<|im_end|>", "<|endoftext|>"),
    "plain": Family(PLAIN_TEMPLATE, ("<|endoftext|>",), "<|endoftext|>", "<|endoftext|>"),
    "plain, with bos": Family(PLAIN_TEMPLATE, ("<s>", "</s>"), "</s>", "</s>", "<s>"),
}


def tokenizer_of(family: Family | str, make_tokenizer: TokenizerMaker, trim: bool = False) -> PreTrainedTokenizerBase:
    family = FAMILIES[family] if isinstance(family, str) else family
    return make_tokenizer(family.template, family.specials, family.eos, family.bos, trim)


def chat(*turns: str, system: str | None = None) -> Conversation:
    """Turns in order, the user first."""
    roles = ("user", "assistant")
    said = tuple(Message(roles[place % 2], text) for place, text in enumerate(turns))
    return Conversation(said if system is None else (Message("system", system), *said))


def call(name: str, **arguments: object) -> Call:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name: str) -> Tool:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "where"}},
        "required": ["city"],
    }
    return {"type": "function", "function": {"name": name, "description": "How warm it is", "parameters": schema}}


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


def plain_ids(tokenizer: PreTrainedTokenizerBase, talk: Conversation) -> list[int]:
    """What transformers itself makes of the conversation, on the day that templates are given."""
    turns = [{"role": message.role, "content": message.content} for message in talk.messages]
    template = dated(tokenizer.get_chat_template())
    ids: list[int] = tokenizer.apply_chat_template(turns, chat_template=template, tokenize=True, return_dict=False)
    return ids
