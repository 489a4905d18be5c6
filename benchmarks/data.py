"""Reading and tokenizing a JSONL of chats, beside `datasets.load_dataset` and `.map` in the same run, on the same file.

    python benchmarks/data.py [--rows 50000] [--rounds 1] [--model FOLDER] [--large GB]

Every case runs in a process and a cache folder of its own, in turn; printed are rows a second of the fastest round,
the CPU it took in all processes, and the largest process's peak memory. What each does:

    read       ours: every row parsed, checked, its shape told, exact duplicates counted
               theirs: load_dataset, which checks nothing and writes Arrow
    tokenize   ours: the above, near duplicates too, then template, tokens and mask of the assistant's words, on disk
               theirs: load_dataset, then a batched map of template and tokenizer on all cores; no mask
               theirs + mask: the prompt tokenized a second time, which is how TRL finds where the answer begins
    again      the same once more, from the cache
    large      ours alone: as many GB, read and checked

The model is smollm2 where it was fetched, else the built-in toy, whose small vocabulary makes more tokens.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

ROOT = Path(__file__).parents[1]
OURS = """
import sys
from trainer import models
from trainer.backends.local import examples
from trainer.backends.local.model import load_tokenizer
from trainer.control import Control
from trainer.spec import RunSpec

def ended(going):
    try:
        while True:
            next(going)
    except StopIteration as done:
        return done.value

file, model = sys.argv[1:3]
spec = RunSpec(data=file, model=model)
info = models.look_up(model)
material = ended(examples.read(spec, Control()))
train, held_out = ended(examples.make(spec, material, load_tokenizer(info)[0], info, 2048, Control()))
assert len(train) + len(held_out) == material.data.data.rows
"""
READ = """
import sys
from trainer.data import load
data = load(sys.argv[1])
assert data.used == data.rows
"""
THEIRS = """
import os, sys
import datasets
from transformers import AutoTokenizer
file, model, cache, kind = sys.argv[1:5]
datasets.disable_progress_bars()
rows = datasets.load_dataset("json", data_files=file, split="train", cache_dir=cache)
if kind != "read":
    tokenizer = AutoTokenizer.from_pretrained(model)

    def texts(chats, **more):
        return [tokenizer.apply_chat_template(chat, tokenize=False, **more) for chat in chats]

    def encode(batch):
        found = tokenizer(texts(batch["messages"]), add_special_tokens=False)
        if kind == "mask":
            prompts = texts([chat[:-1] for chat in batch["messages"]], add_generation_prompt=True)
            begins = tokenizer(prompts, add_special_tokens=False)["input_ids"]
            found["mask"] = [[0] * len(b) + [1] * (len(i) - len(b)) for b, i in zip(begins, found["input_ids"])]
        return found

    rows.map(encode, batched=True, num_proc=len(os.sched_getaffinity(0)), remove_columns=rows.column_names)
"""


def main() -> None:
    options = _options()
    if importlib.util.find_spec("datasets") is None:
        sys.exit("The comparison needs the package datasets: pip install 'finetunegem[hub]'.")
    model = options.model or str(_model())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.jsonl"
        size = _write(file, options.rows)
        print(f"{options.rows:,} chats, {size / 1e6:.0f} MB, tokenizer of {Path(model).name}, {_cores()} cores\n")
        ours = {"read": (READ, "read"), "tokenize": (OURS, "plain")}
        theirs = {"read": (THEIRS, "read"), "tokenize": (THEIRS, "plain"), "tokenize + mask": (THEIRS, "mask")}
        print(f"{'':<26}{'rows/s':>9}{'s':>8}{'CPU s':>8}{'peak MB':>9}")
        found: dict[str, Took] = {}
        for number in range(options.rounds):
            for whose, cases in (("ours", ours), ("theirs", theirs)):
                for name, (program, kind) in cases.items():
                    cache = f"{folder}/{number}-{whose}-{kind}"
                    for again in ("", " again") if name == "tokenize" else ("",):
                        took = _run(program, [str(file), model, cache, kind], cache)
                        key = f"{whose}: {name}{again}"
                        found[key] = min(took, found.get(key, took), key=lambda one: one.seconds)
        for key, took in found.items():
            print(f"{key:<26}{options.rows / took.seconds:>9,.0f}{took.seconds:>8.1f}{took.cpu:>8.1f}{took.peak:>9.0f}")
        print()
        for name, other in (("read", "read"), ("tokenize", "tokenize"), ("tokenize", "tokenize + mask")):
            one, two = found[f"ours: {name}"], found[f"theirs: {other}"]
            print(
                f"{other}: {two.seconds / one.seconds:.2f} times the rows a second, "
                f"{two.cpu / one.cpu:.2f} times less CPU, {two.peak / one.peak:.2f} times less memory"
            )
        if options.large:
            _large(Path(folder) / "large.jsonl", options.large, model)


class Took:
    def __init__(self, seconds: float, cpu: float, peak: float) -> None:
        self.seconds, self.cpu, self.peak = seconds, cpu, peak  # peak in MB


def _run(program: str, arguments: list[str], cache: str) -> Took:
    """Raises RuntimeError where the process fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FINETUNEGEM_CACHE": cache, "HF_HUB_OFFLINE": "1"}
    environment |= {"TOKENIZERS_PARALLELISM": "false"} if program is OURS else {}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(said.decode()[-2000:])
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return Took(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, peak)


def _write(file: Path, rows: int) -> int:
    """Chats of about a kilobyte, from the sentences of Python's own documentation; the file's size."""
    with file.open("w", encoding="utf-8") as out:
        for chat in _chats(rows):
            out.write(json.dumps({"messages": chat}) + "\n")
    return file.stat().st_size


def _chats(rows: int) -> Iterator[list[dict[str, str]]]:
    drawing = random.Random(1)
    found = (s.strip() for text in topics.values() for s in re.split(r"(?<=[.:])\s+", text))
    sentences = [sentence for sentence in found if 20 < len(sentence) < 300]

    def text(length: int) -> str:
        parts: list[str] = []
        while sum(map(len, parts)) < length:
            parts.append(drawing.choice(sentences))
        return " ".join(parts)

    for _ in range(rows):
        asked, answer = text(drawing.randint(50, 250)), text(drawing.randint(200, 900))
        yield [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def _large(file: Path, gigabytes: float, model: str) -> None:
    """The same chats again and again, each with its number, so that none stands twice."""
    block = [json.dumps({"messages": chat}) for chat in _chats(20_000)]
    rows = 0
    with file.open("w", encoding="utf-8") as out:
        while out.tell() < gigabytes * 1e9:
            for line in block:
                rows += 1
                out.write(line.replace('"content": "', f'"content": "{rows} ', 1) + "\n")
    took = _run(READ, [str(file), model], f"{file}.cache")
    size = file.stat().st_size / 1e9
    speed = f"{rows / took.seconds:,.0f} rows/s, peak {took.peak:.0f} MB"
    print(f"\n{size:.1f} GB, {rows:,} rows: read and checked in {took.seconds:.0f} s, {speed}")


def _model() -> Path:
    sys.path.insert(0, str(ROOT))
    from trainer import models  # the path to it is known only now

    fetched = models.cache_dir("smollm2")
    return fetched if (fetched / "tokenizer.json").is_file() else models.BUILTIN / "tiny"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", default="")
    parser.add_argument("--large", type=float, default=0.0, metavar="GB")
    return parser.parse_args()


if __name__ == "__main__":
    main()
