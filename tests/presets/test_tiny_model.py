"""The built-in model loads with plain transformers and is what its papers say."""

import ast
import hashlib
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

TINY = Path(__file__).parents[2] / "presets" / "models" / "tiny"
CHAT = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "Bye"},
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(TINY)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)


def test_folder_stays_small() -> None:
    assert sum(path.stat().st_size for path in TINY.rglob("*") if path.suffix != ".pyc") <= 5_000_000


def test_weights_are_two_million_numbers_of_sixteen_bits(model: LlamaForCausalLM) -> None:
    assert 1_900_000 < model.num_parameters() < 2_300_000
    assert (TINY / "model.safetensors").stat().st_size < 2.01 * model.num_parameters() + 10_000


@pytest.mark.parametrize("text", ["", "ls -la | sort\n", "  two  spaces\t", "Grüße, 世界! 🦜 ñ é", "a\u200bb\r\n"])
def test_any_text_comes_back_from_the_tokenizer(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    encoded = tokenizer(text, return_offsets_mapping=True)
    assert tokenizer.decode(encoded["input_ids"]) == text
    covered = {place for start, end in encoded["offset_mapping"] for place in range(start, end)}
    assert covered == set(range(len(text)))


def test_chat_renders_every_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    rendered = tokenizer.apply_chat_template(CHAT, tokenize=False)
    assert rendered == (
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
    )
    prompt = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert prompt == rendered + "<|im_start|>assistant\n"


def test_tools_calls_and_results_are_said(tokenizer: PreTrainedTokenizerBase) -> None:
    function = {"name": "warm", "parameters": {"type": "object", "properties": {}}}
    asks = {"name": "warm", "arguments": {"city": "Zürich <1>"}}
    chat = [
        {"role": "user", "content": "How warm?"},
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": asks}]},
        {"role": "tool", "content": "12 C"},
    ]
    assert tokenizer.apply_chat_template(chat, tools=[{"type": "function", "function": function}], tokenize=False) == (
        f"<|im_start|>system\nTools:\n{json.dumps(function)}<|im_end|>\n"
        "<|im_start|>user\nHow warm?<|im_end|>\n"
        f"<|im_start|>assistant\n<tool_call>\n{json.dumps(asks, ensure_ascii=False)}\n</tool_call><|im_end|>\n"
        "<|im_start|>tool\n12 C<|im_end|>\n"
    )


def test_the_template_is_the_one_that_its_script_writes() -> None:
    script = ast.parse((TINY / "pretrain.py").read_text("utf-8"))
    (written,) = (
        ast.literal_eval(line.value)
        for line in script.body
        if isinstance(line, ast.Assign)
        and isinstance(line.targets[0], ast.Name)
        and line.targets[0].id == "CHAT_TEMPLATE"
    )
    assert written == (TINY / "chat_template.jinja").read_text("utf-8")


def test_marks_of_a_chat_are_single_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.eos_token == "<|im_end|>"
    marks = [tokenizer.bos_token, "<|im_start|>", tokenizer.eos_token, tokenizer.pad_token]
    numbers = [tokenizer(mark)["input_ids"] for mark in marks]
    assert [len(each) for each in numbers] == [1, 1, 1, 1]
    assert len({each[0] for each in numbers}) == 4


def test_reply_stops_at_the_end_of_the_turn(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What does `os.path.join` do?"}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    tokens = model.generate(**prompt, do_sample=False)[0]
    assert tokens[-1] == tokenizer.eos_token_id
    assert prompt["input_ids"].shape[1] + 1 < len(tokens) < 128


def test_provenance_is_of_these_weights(model: LlamaForCausalLM) -> None:
    facts = json.loads((TINY / "provenance.json").read_text())
    assert facts["model_sha256"] == hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest()
    assert facts["parameters"] == model.num_parameters()
    assert facts["held_out_loss"] < facts["held_out_loss_before"] / 2
    assert all(source["licence"] and source["sha256"] for source in facts["sources"])
