"""Small random models of several architectures, tokenizers trained on the spot, and tiny data files.

Everything is made once a session, from seeds; nothing is downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from tests.backends.local.runs import SpecMaker
from trainer.backends.local import loop
from trainer.events import Event
from trainer.spec import RunSpec

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QUESTIONS = (
    "How do I list files?",
    "Count the lines of notes.txt",
    "Where am I?",
    "Who is logged in?",
    "Free disk space?",
)
ANSWERS = ("ls -la", "wc -l notes.txt", "pwd tells you.", "who; w shows more, also what they run", "df -h /")

TokenizerMaker = Callable[..., PreTrainedTokenizerBase]
ModelMaker = Callable[[str], Path]
DataMaker = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """One torch thread, as everywhere in the tests: bitwise the same on every machine, and kind to busy ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs begin with their first evaluation: for tests that count what a run does, to let something happen then."""

    def nothing(*_: object) -> Iterator[Event]:
        yield from ()

    monkeypatch.setattr(loop, "dry_run", nothing)


@pytest.fixture(scope="session")
def make_tokenizer() -> TokenizerMaker:
    """make_tokenizer(template, specials, eos, bos, trim): byte-level BPE, with merges over the sample sentences."""

    def make(
        template: str | None = CHATML,
        specials: Sequence[str] = ("<|im_start|>", "<|im_end|>"),
        eos: str = "<|im_end|>",
        bos: str | None = None,
        trim: bool = False,
    ) -> PreTrainedTokenizerBase:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
        trainer = trainers.BpeTrainer(
            vocab_size=256 + len(specials) + 60,
            special_tokens=list(specials),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator([*QUESTIONS, *ANSWERS, "user assistant system        return"] * 4, trainer)
        fast: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, eos_token=eos, bos_token=bos
        )
        fast.chat_template = template
        return fast

    return make


def _configs(vocabulary: int) -> dict[str, Any]:
    """One small configuration each; odd sizes and short windows on purpose."""
    small = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": None,
    }
    grouped = {**small, "num_key_value_heads": 2}
    window = {**grouped, "head_dim": 8, "sliding_window": 8}
    mixed = {**window, "layer_types": ["sliding_attention", "full_attention"]}
    return {
        "llama": LlamaConfig(**grouped, tie_word_embeddings=False),
        "llama-tied": LlamaConfig(**{**grouped, "pad_token_id": 1}, tie_word_embeddings=True),
        "gpt2": GPT2Config(
            vocab_size=vocabulary,
            n_positions=256,
            n_embd=32,
            n_layer=2,
            n_head=4,
            eos_token_id=1,
            bos_token_id=1,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        ),
        "qwen2": Qwen2Config(**grouped),
        "qwen3": Qwen3Config(**grouped, head_dim=8, tie_word_embeddings=True),
        "gemma": GemmaConfig(**grouped, head_dim=8),
        "gemma2": Gemma2Config(**mixed, query_pre_attn_scalar=8),
        "gemma3": Gemma3TextConfig(**mixed, query_pre_attn_scalar=8),
        "mistral": MistralConfig(**window),
        "phi": PhiConfig(**small, partial_rotary_factor=0.5),
        "gpt-neox": GPTNeoXConfig(**small, hidden_dropout=0.0, attention_dropout=0.0),
    }


ARCHITECTURES = tuple(_configs(318))


@pytest.fixture(scope="session", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def make_model(make_tokenizer: TokenizerMaker, tmp_path_factory: pytest.TempPathFactory) -> ModelMaker:
    """make_model(architecture) → a folder as save_pretrained makes it, weights large enough for visible gradients."""
    folder = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            tokenizer = make_tokenizer()
            torch.manual_seed(7)
            model = AutoModelForCausalLM.from_config(_configs(len(tokenizer))[name])
            model.save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)
            made[name] = folder / name
        return made[name]

    return make


@pytest.fixture(scope="session")
def make_data(tmp_path_factory: pytest.TempPathFactory) -> DataMaker:
    """make_data(rows) → a JSONL file of that many chats, some of two turns, of very different lengths."""
    folder = tmp_path_factory.mktemp("data")

    def make(rows: int = 24, name: str = "data") -> Path:
        file = folder / f"{name}-{rows}.jsonl"
        file.write_text("".join(json.dumps({"messages": _chat(row)}) + "\n" for row in range(rows)), encoding="utf-8")
        return file

    return make


@pytest.fixture
def spec(make_model: ModelMaker, make_data: DataMaker) -> SpecMaker:
    """Three epochs on the small Llama, a checkpoint every second step."""

    def make(**fields: Any) -> RunSpec:
        given = {"model": str(make_model("llama")), "data": str(make_data(24)), "epochs": 3, "eval_share": 0.25}
        return RunSpec(**{"learning_rate": 0.01, "batch_size": 4, "save_every": 2, "keep": "last", **given, **fields})

    return make


def _chat(row: int) -> list[dict[str, str]]:
    question, answer = QUESTIONS[row % 5], ANSWERS[row % 5] * (1 + row % 3)
    chat = [{"role": "user", "content": f"{question} ({row})"}, {"role": "assistant", "content": answer}]
    if row % 4 == 0:
        chat += [{"role": "user", "content": "And then?"}, {"role": "assistant", "content": ANSWERS[row % 3]}]
    return chat
