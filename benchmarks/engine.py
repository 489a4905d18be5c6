"""Training speed and memory beside Hugging Face's Trainer and TRL, in the same run.

    python benchmarks/engine.py [--rounds 2] [--steps 6] [--only full,lora,vocabulary]
        [--peers "ours,HF Trainer"] [--threads 1] [--gpu]

600 chats of mixed length, batches of 16. Every engine trains a process of its own on the very same batches in the same
order, with the same optimizer; they take turns, A B C .. C B A, and compared is each pair in the same turn: the median
of those ratios. The machine may be busy, so speed is told twice: by the clock, and by the CPU seconds of the process.
Counted is training alone: from before the first step to the end of the last. Nobody evaluates or saves in between.
Memory is the largest it was in that time above what it was with the model loaded and all of its weights read.

    ours            the product's own run, `trainer.backends.local.train`, with its log and its data from disk
    HF Trainer      transformers' as it comes, 8 examples x 2 accumulated
    TRL             SFTTrainer as it comes, the same; it recomputes activations unless told otherwise
    TRL padding-free, TRL packing   without recomputing, and scoring supervised tokens only, as TRL does on a
                    GPU alone (patched in). Packing makes other, fuller batches: only its tokens a second compare
    the floor       the model's own matrix products for the same tokens and nothing else, in the process of ours

TRL is an extra: pip install 'finetunegem[bench]'. What is not installed gets a line that says so.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import random
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from benchmarks.peers import PEERS, ROOT, run

BATCH, LONGEST, ROWS = 16, 512, 600
SHAPES: dict[str, dict[str, int]] = {
    "full": {"vocab_size": 8192, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6},
    "lora": {"vocab_size": 8192, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6},
    "vocabulary": {"vocab_size": 128_256, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4},
    "overhead": {"vocab_size": 2048, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
    "gpu": {"vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16},
}


def main() -> None:
    options = _options()
    trl = importlib.util.find_spec("trl") is not None
    peers = [name for name in options.peers.split(",") if trl or not name.startswith("TRL")]
    print(f"{_versions()}\n{_machine()}, {options.threads} thread(s) a process, load {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as temporary:
        for what in options.only.split(","):
            if options.gpu:
                SHAPES[what] = SHAPES["gpu"]
            folder = Path(temporary) / what
            make(folder, what, options.seed)
            found = _measure(peers, folder, options.steps, options.rounds, options.threads)
            _table(what, found, options.steps)
    if not trl:
        print("TRL is not installed, so it was not run: pip install 'finetunegem[bench]'")


def _measure(named: list[str], folder: Path, steps: int, rounds: int, threads: int) -> dict[str, list[Any]]:
    """Each in its own process: A B C, then C B A, for every round."""
    found: dict[str, list[Any]] = {name: [] for name in named}
    for _ in range(rounds):
        for order in (named, named[::-1]):
            for name in [name for name in order if name in found]:
                try:
                    found[name].append(run(name, folder, steps, threads))
                except RuntimeError as error:
                    if not name.startswith("TRL"):
                        raise
                    print(f"{name} did not run: {str(error).strip().splitlines()[-1]}")
                    del found[name]
    return found


def _table(what: str, found: dict[str, list[Any]], steps: int) -> None:
    ours = found["ours"]
    tokens, vocabulary = ours[0]["tokens"], SHAPES[what]["vocab_size"]
    print(f"## {what}: {steps} batches of {BATCH}, {tokens:,} tokens, vocabulary {vocabulary:,}")
    print(f"{'':<18}{'tokens/s':>9}{'wall s':>8}{'CPU s':>7}{'ours faster: wall':>19}{'CPU':>7}", end="")
    print(f"{'memory MB':>11}{'ours/it':>9}")
    for name, times in found.items():
        speed = statistics.median(one["tokens"] / one["wall"] for one in times)
        wall, cpu, memory = (statistics.median(one[key] for one in times) for key in ("wall", "cpu", "memory"))
        ratios = [_ratio(times, ours, key) for key in ("wall", "cpu", "memory")]
        print(
            f"{name:<18}{speed:>9,.0f}{wall:>8.1f}{cpu:>7.1f}{ratios[0]:>18.2f}x{ratios[1]:>6.2f}x"
            f"{memory / 1e6:>11,.0f}{1 / ratios[2]:>9.2f}"
        )
    if "HF Trainer" in found:
        apart = max(abs(a - b) for a, b in zip(ours[0]["losses"], found["HF Trainer"][0]["losses"], strict=True))
        print(f"losses of ours and HF Trainer: at most {apart:.1e} apart")
    if "floor" in ours[0]:
        shares = {key: statistics.median(one["floor"][key] / one[key] for one in ours) for key in ("wall", "cpu")}
        print(f"share of the floor: {shares['cpu']:.0%} by CPU seconds, {shares['wall']:.0%} by the clock")
    print(flush=True)


def _ratio(theirs: list[Any], ours: list[Any], key: str) -> float:
    return float(statistics.median(one[key] / other[key] for one, other in zip(theirs, ours, strict=True)))


def make(folder: Path, what: str, seed: int) -> None:
    """A random model, the chats, a spec, and the rows as our run will take them."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    sys.path.insert(0, str(ROOT))
    from trainer import data, models
    from trainer.backends.local.batches import BatchOrder
    from trainer.backends.local.chat import encode

    heads = {"num_attention_heads": 32, "num_key_value_heads": 8} if SHAPES[what]["hidden_size"] > 1000 else {
        "num_attention_heads": 8, "num_key_value_heads": 4,
    }  # fmt: skip
    torch.manual_seed(seed)
    config = LlamaConfig(**SHAPES[what], **heads, max_position_embeddings=1024, tie_word_embeddings=False)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(models.BUILTIN / "tiny")
    tokenizer.save_pretrained(folder)
    chats = list(_chats(ROWS, seed))
    for name, some in (("train", chats), ("held-out", [*_chats(4, seed + 1)])):
        text = "".join(json.dumps({"messages": chat}) + "\n" for chat in some)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")
    batch = 1 if what == "overhead" else BATCH
    spec = {
        "model": str(folder), "data": str(folder / "train.jsonl"), "eval_data": str(folder / "held-out.jsonl"),
        "epochs": 1, "batch_size": batch, "max_length": LONGEST, "learning_rate": 5e-4, "schedule": "constant",
        "warmup": 0.0, "weight_decay": 0.0, "max_grad_norm": 1.0, "optimizer": "adamw", "eval_every": ROWS,
        "method": "lora" if what == "lora" else "full", "lora_rank": 16, "lora_alpha": 32.0, "seed": seed,
    }  # fmt: skip
    (folder / "spec.json").write_text(json.dumps(spec), "utf-8")
    examples = [
        encode(tokenizer, one.conversation, LONGEST) for one in data.load(str(folder / "train.jsonl")).examples()
    ]
    order = BatchOrder(len(examples), batch, seed)
    places = [place for number in range(math.ceil(ROWS / batch)) for place in order.batch(0, number)]
    rows = [
        {
            "input_ids": examples[place].ids.tolist(),
            "attention_mask": [1] * len(examples[place].ids),
            "labels": torch.where(examples[place].supervised, examples[place].ids, -100).tolist(),
        }
        for place in places
    ]
    (folder / "rows.json").write_text(json.dumps(rows), "utf-8")


def _chats(rows: int, seed: int) -> Iterator[list[dict[str, str]]]:
    """Of lognormal length, from the sentences of Python's own documentation; each is numbered, so none comes twice."""
    drawing = random.Random(seed)
    words = [word for text in topics.values() for word in re.findall(r"[A-Za-z]+[.,:]?", text)]
    for row in range(rows):
        length = max(4, min(220, int(drawing.lognormvariate(3.6, 0.8))))
        begin = drawing.randrange(len(words) - 400)
        asked = words[begin : begin + 3 + length // 2]
        answer = words[begin + 100 : begin + 103 + length * 3 // 4]
        yield [
            {"role": "user", "content": f"{row}: {' '.join(asked)}"},
            {"role": "assistant", "content": " ".join(answer)},
        ]


def _versions() -> str:
    names = ("torch", "transformers", "peft", "trl", "accelerate")
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return f"Python {platform.python_version()}, {', '.join(found)}"


def _machine() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    file = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", file.read_text("utf-8")) if file.is_file() else None
    return f"{found[1] if found else platform.processor()}, {os.cpu_count()} cores"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", default="full,lora,vocabulary", help="on CUDA full and lora are enough")
    parser.add_argument("--peers", default=",".join(PEERS), help="ours among them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gpu", action="store_true", help="a Llama of 1.2B parameters in bfloat16, on CUDA")
    return parser.parse_args()


if __name__ == "__main__":
    main()
