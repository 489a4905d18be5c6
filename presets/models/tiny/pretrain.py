"""Make `builtin:tiny`: train a Llama of two million parameters from nothing, on one CPU core.

    python presets/models/tiny/pretrain.py --out presets/models/tiny

Text comes from Python itself (the language reference in `pydoc_data.topics`; docstrings and short functions of the
standard library) and from one small package, `chatterbot-corpus`, which is fetched with pip. Questions are made from
the docstrings, so that the model has seen chats about Python. A twentieth of all texts is held out and never trained
on. The script writes the model, its tokenizer and `provenance.json`: seed, steps, tokens, losses, versions and the
sha256 of each source. The same seed, sources, versions and kind of processor give the same weights.

It does not know this project's trainer or its starter data: nothing of them is in the weights. It teaches no facts
either. Two million parameters hold spelling, phrases and the shape of a chat: enough to watch a loss curve.
"""

import argparse
import ast
import hashlib
import json
import math
import pydoc_data.topics
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
import yaml  # type: ignore[import-untyped]
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

CHATS = "chatterbot-corpus==1.3.3"
CHATS_SHA256 = "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154"
PAD, BREAK, START, END = "<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# Tools, a JSON object a line, are a system turn in front. Calls stand in the assistant's turn, as Qwen 2.5 writes them;
# a tool's result is a turn of its own.
CHAT_TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\\nTools:' }}"
    "{% for tool in tools %}{{ '\\n' + tool['function'] | tojson }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') }}"
    "{% for call in message['tool_calls'] or [] %}"
    "{{ ('\\n' if message['content'] or not loop.first else '') "
    "+ '<tool_call>\\n' + call['function'] | tojson + '\\n</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Tests and vendored code say little about Python and much about themselves.
SKIPPED = {"test", "tests", "idlelib", "lib2to3", "site-packages", "ensurepip", "pydoc_data"}
BATCH, WINDOW = 8, 256
PEAK_LEARNING_RATE, WARMUP_STEPS = 3e-3, 50


@dataclass(frozen=True)
class Source:
    """Texts as the model reads them, and where each came from: a docstring and its chats are held out together."""

    name: str
    licence: str
    origins: dict[str, str]

    def sha256(self) -> str:
        return hashlib.sha256("\0".join(self.origins).encode()).hexdigest()


def chat(*turns: str) -> str:
    """The text of a chat whose turns alternate, user first; what the chat template renders."""
    roles = ("user", "assistant")
    return "".join(f"{START}{roles[i % 2]}\n{turn}{END}\n" for i, turn in enumerate(turns))


def reference() -> Source:
    """The chapters of the language reference that `help()` shows."""
    topics: dict[str, str] = pydoc_data.topics.topics
    return Source("pydoc_data.topics", "PSF-2.0", {text: text for text in topics.values()})


def standard_library() -> Source:
    """Docstrings of the standard library, and chats made from them."""
    origins: dict[str, str] = {}
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if SKIPPED.isdisjoint(parts):
            origins.update(documented(path, ".".join(p for p in parts if p != "__init__")))
    return Source("standard library", "PSF-2.0", origins)


def documented(path: Path, module: str) -> Iterator[tuple[str, str]]:
    """(text, docstring) for each documented thing in one module."""
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (SyntaxError, UnicodeDecodeError):  # a few files are templates or odd encodings
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        docstring = ast.get_docstring(node)
        if not docstring or len(docstring) < 40:
            continue
        name = module if isinstance(node, ast.Module) else f"{module}.{node.name}"
        yield f"{name}\n\n{docstring}\n", docstring
        summary = " ".join(docstring.split("\n\n")[0].split())
        if name.startswith("_") or "._" in name or not 20 < len(summary) < 300:
            continue
        yield chat(f"What does `{name}` do?", summary), docstring
        code = ast.get_source_segment(source, node) or ""
        if isinstance(node, ast.FunctionDef) and code.count("\n") < 16:
            reply = f"```python\n{code}\n```"
            yield chat(f"Show me a Python function: {summary}", reply), docstring


def conversations(wheel: Path) -> Source:
    """The English conversations of chatterbot-corpus, without the many repeats."""
    chats: list[str] = []
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if "/english/" in name and name.endswith(".yml"):
                loaded = yaml.safe_load(archive.read(name))
                for turns in loaded["conversations"]:
                    chats.append(chat(*(str(turn).strip() for turn in turns)))
    return Source(CHATS, "BSD-3-Clause", {text: text for text in chats})


def fetch_chats(folder: Path) -> Path:
    """Download the wheel of chatterbot-corpus with pip and check that it is the known one."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(folder), CHATS]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != CHATS_SHA256:
        raise SystemExit(f"{wheel.name} is not the file this script knows: its sha256 differs.")
    return wheel


def split(sources: Sequence[Source], seed: int) -> tuple[list[str], list[str]]:
    """Texts to train on and texts held out (one origin in twenty), both shuffled."""
    parts: tuple[list[str], list[str]] = ([], [])
    for source in sources:
        for text, origin in source.origins.items():
            lot = hashlib.sha256(f"{seed} {origin}".encode()).digest()
            parts[int.from_bytes(lot) % 20 == 0].append(text)
    for part in parts:
        random.Random(seed).shuffle(part)
    return parts


def make_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerBase:
    """A byte-level BPE of 2,048 tokens: any text, in any script, comes back unchanged."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        special_tokens=[PAD, BREAK, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The marks of a chat are tokens of their own and must not teach merges to the BPE.
    bpe.train_from_iterator((t.replace(START, "").replace(END, "") for t in texts), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BREAK,
        eos_token=END,
        pad_token=PAD,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """Two million parameters with random weights."""
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.bos_token_id],
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=128,
    )
    return model


def windows(stream: torch.Tensor, seed: int) -> Iterator[torch.Tensor]:
    """Batches of shape (BATCH, WINDOW), for ever; each pass over the stream is cut elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        offset = int(torch.randint(WINDOW, (1,), generator=generator))
        rows = stream[offset : len(stream) - (len(stream) - offset) % WINDOW].view(-1, WINDOW)
        order = torch.randperm(len(rows), generator=generator)
        for start in range(0, len(order) - BATCH + 1, BATCH):
            yield rows[order[start : start + BATCH]]


def learning_rate(step: int, steps: int) -> float:
    """Straight up for WARMUP_STEPS, then half a cosine down to a twentieth of the peak."""
    if step < WARMUP_STEPS:
        return PEAK_LEARNING_RATE * (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return PEAK_LEARNING_RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def train(model: LlamaForCausalLM, stream: torch.Tensor, steps: int, seed: int) -> float:
    """Train in place; the mean loss of the last 50 steps."""
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    losses: list[float] = []
    started = time.perf_counter()
    for step, batch in zip(range(steps), windows(stream, seed), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 50 == 49:
            mean = sum(losses[-50:]) / 50
            print(f"step {step + 1}: {mean:.3f}, {time.perf_counter() - started:.0f} s", flush=True)
    return sum(losses[-50:]) / len(losses[-50:])


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, stream: torch.Tensor) -> float:
    """Mean loss a token, over texts the model was not trained on."""
    rows = stream[: len(stream) // WINDOW * WINDOW].view(-1, WINDOW)
    # Every row has the same length, so the mean of the rows' means is the mean over the tokens.
    losses = [float(model(input_ids=row[None], labels=row[None]).loss) for row in rows]
    return sum(losses) / len(losses)


def write_provenance(out: Path, facts: dict[str, object], sources: Sequence[Source]) -> None:
    """Put what made these weights beside them."""
    weights = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    described = [{"name": s.name, "licence": s.licence, "texts": len(s.origins), "sha256": s.sha256()} for s in sources]
    packages = {name: version(name) for name in ("torch", "transformers", "tokenizers")}
    versions = {"python": sys.version.split()[0], **packages}
    everything = {**facts, "sources": described, "versions": versions, "model_sha256": weights}
    (out / "provenance.json").write_text(json.dumps(everything, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the tiny built-in model from public text.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps of 8 x 256 tokens")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # more threads add up in another order, and so to other weights
    torch.manual_seed(arguments.seed)

    with tempfile.TemporaryDirectory() as folder:
        sources = [reference(), standard_library(), conversations(fetch_chats(Path(folder)))]
    training, held_out = split(sources, arguments.seed)
    tokenizer = make_tokenizer(training)
    parts = (BREAK + BREAK.join(part) for part in (training, held_out))
    streams = [torch.tensor(tokenizer(text, verbose=False)["input_ids"]) for text in parts]
    print(f"{len(training)} texts, {len(streams[0])} tokens; held out {len(streams[1])} tokens")

    model = make_model(tokenizer)
    started = time.process_time()
    facts: dict[str, object] = {
        "seed": arguments.seed,
        "steps": arguments.steps,
        "tokens_in_texts": len(streams[0]),
        "tokens_seen": arguments.steps * BATCH * WINDOW,
        "held_out_loss_before": held_out_loss(model, streams[1]),
        "loss": train(model, streams[0], arguments.steps, arguments.seed),
    }
    model = model.to(torch.bfloat16)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    # Measured on what is saved: rounded to bfloat16, then read back with full-width arithmetic.
    facts["held_out_loss"] = held_out_loss(model.float(), streams[1])
    facts["cpu_seconds"] = round(time.process_time() - started)
    facts["parameters"] = model.num_parameters()
    write_provenance(arguments.out, facts, sources)
    print(json.dumps({k: v for k, v in facts.items() if "loss" in k}))


if __name__ == "__main__":
    main()
