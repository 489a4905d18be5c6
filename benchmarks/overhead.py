"""What a step costs that is not forward, backward or the optimizer: ours and transformers' Trainer above a bare loop.

    OMP_NUM_THREADS=1 python benchmarks/overhead.py [--rounds 7] [--steps 100]

A model of two small layers, one example a step, the same rows for all three. All run in one process, one after the
other and round after round, because two processes differ by more than what is to be seen here. Compared is CPU time,
helping threads included, of the same steps in the same round; told are the median and the range of the rounds. The bare
loop has its batches ready as tensors, makes all logits, clips and steps.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.engine import make
from trainer.backends.local.loop import train
from trainer.control import Control
from trainer.events import Evaluated, StepTaken
from trainer.spec import RunSpec


def bare(folder: Path, steps: int) -> float:
    rows = json.loads((folder / "rows.json").read_text("utf-8"))[:steps]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, fused=True)
    ready = [{name: torch.tensor([row[name]]) for name in ("input_ids", "labels")} for row in rows]
    began = time.process_time()
    for batch in ready:
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return time.process_time() - began


def ours(folder: Path, steps: int) -> float:
    spec = RunSpec(**json.loads((folder / "spec.json").read_text("utf-8")))
    began = 0.0
    with tempfile.TemporaryDirectory() as run:
        for event in train(spec, Control(Path(run) / "run")):
            if isinstance(event, Evaluated) and event.step == 0:
                began = time.process_time()
            elif isinstance(event, StepTaken) and event.step == steps:
                break
    return time.process_time() - began


def theirs(folder: Path, steps: int) -> float:
    rows = json.loads((folder / "rows.json").read_text("utf-8"))[:steps]
    times: list[float] = []

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            times.append(time.process_time())

        on_train_end = on_train_begin

    arguments = TrainingArguments(
        output_dir=str(folder / "theirs"), per_device_train_batch_size=1, num_train_epochs=1, learning_rate=5e-4,
        lr_scheduler_type="constant", max_grad_norm=1.0, weight_decay=0.0, optim="adamw_torch_fused", logging_steps=1,
        save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True, train_sampling_strategy="sequential", seed=1,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    collator = DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(folder))
    trainer = Trainer(model, arguments, collator, Dataset.from_list(rows), callbacks=[Watch()])
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return times[1] - times[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    kinds: dict[str, Callable[[Path, int], float]] = {"bare": bare, "ours": ours, "HF Trainer": theirs}
    found: dict[str, list[float]] = {name: [] for name in kinds}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "overhead"
        os.environ["FINETUNEGEM_CACHE"] = str(folder / "cache")
        make(folder, "overhead", 1)
        for number in range(options.rounds + 1):
            for name, kind in list(kinds.items())[:: -1 if number % 2 else 1]:
                seconds = kind(folder, options.steps)
                if number:  # the first round warms up
                    found[name].append(1e6 * seconds / options.steps)
    print(f"microseconds of CPU a step, {options.rounds} rounds of {options.steps}, load {os.getloadavg()[0]:.1f}")
    for name, times in found.items():
        above = [one - raw for one, raw in zip(times, found["bare"], strict=True)]
        least, median, most = (round(pick(above)) for pick in (min, statistics.median, max))
        print(f"{name:<11}{statistics.median(times):>8,.0f}   above bare {median:>+7,} ({least:+,} to {most:+,})")


if __name__ == "__main__":
    main()
