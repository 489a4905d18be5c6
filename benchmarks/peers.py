"""The programs that `engine` lets run beside each other, each in a process of its own, and the floor below them.

Every one trains on the same rows in the same order and prints one JSON line of what it measured. What is compared with
what, and how often, is not known here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEERS = ("ours", "HF Trainer", "TRL", "TRL padding-free", "TRL packing")

COMMON = """
import json, os, resource, sys, time
import torch
kind, folder, steps, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
lora = "lora" in folder
gpu = torch.cuda.is_available()

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

class Meter:
    def loaded(self, model):
        if gpu:
            torch.cuda.reset_peak_memory_stats(); self.base = torch.cuda.memory_allocated()
        else:
            for weight in model.parameters():
                weight.detach().sum()  # they are mapped from the file, and in memory only once they were read
            open("/proc/self/clear_refs", "w").write("5"); self.base = resident()
    def begin(self):
        gpu and torch.cuda.synchronize()
        self.wall, self.cpu = time.perf_counter(), time.process_time()
    def end(self, tokens, **more):
        gpu and torch.cuda.synchronize()
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        peak = [int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
        peak = torch.cuda.max_memory_allocated() if gpu else peak
        return {"wall": wall, "cpu": cpu, "tokens": tokens, "memory": peak - self.base, **more}
meter = Meter()
"""
OURS = (
    COMMON
    + """
import pathlib, tempfile
import trainer.backends.local.loop as loop
import trainer.backends.local.prepare as prepare
from trainer.control import Control
from trainer.events import Evaluated, Noted, StepTaken
from trainer.spec import RunSpec

spec = RunSpec(**json.load(open(folder + "/spec.json")))
tokens, losses, seen = 0, [], []
keep = loop._fit
def fit(spec, control, setup, *rest):
    seen.append(setup)
    return (yield from keep(spec, control, setup, *rest))
loop._fit = fit
load = prepare.load_model
def load_model(*arguments):
    loaded = load(*arguments)
    meter.loaded(loaded.model)
    return loaded
prepare.load_model = load_model
with tempfile.TemporaryDirectory() as run:
    for event in loop.train(spec, Control(pathlib.Path(run) / "run")):
        if isinstance(event, Noted):
            print(event.message, file=sys.stderr)
        elif isinstance(event, Evaluated) and event.step == 0:
            meter.begin()
        elif isinstance(event, StepTaken):
            tokens += event.num_tokens
            losses.append(event.loss)
            if event.step == steps:
                break
    found = meter.end(tokens, losses=losses)
if not gpu:
    found["floor"] = __import__("benchmarks.peers", fromlist=["floor"]).floor(seen[0], spec, steps)
print(json.dumps(found))
"""
)
THEIRS = (
    COMMON
    + """
import transformers
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
transformers.logging.set_verbosity_error()
rows = json.load(open(folder + "/rows.json"))
size, batch = 8, 16
rows = rows[: steps * batch]
tokens = sum(len(row["input_ids"]) for row in rows)
tokenizer = AutoTokenizer.from_pretrained(folder)
half = gpu and lora and torch.cuda.is_bf16_supported()
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if half else torch.float32)
model = model.to("cuda") if gpu else model
if lora:
    from peft import LoraConfig, get_peft_model
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
meter.loaded(model)

class Watch(TrainerCallback):
    def on_train_begin(self, *_, **__): meter.begin()
    def on_train_end(self, *_, **__): found.append(meter.end(tokens))

found = []
common = dict(
    output_dir=folder + "/theirs", per_device_train_batch_size=size, gradient_accumulation_steps=batch // size,
    num_train_epochs=1, learning_rate=5e-4, lr_scheduler_type="constant", max_grad_norm=1.0, weight_decay=0.0,
    optim="adamw_torch_fused", logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True,
    use_cpu=not gpu, bf16=gpu and torch.cuda.is_bf16_supported(), train_sampling_strategy="sequential", seed=1,
)
if kind == "HF Trainer":
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments
    made = Trainer(model, TrainingArguments(**common), DataCollatorForSeq2Seq(tokenizer), Dataset.from_list(rows))
else:
    import trl.trainer.utils
    from trl import SFTConfig, SFTTrainer
    if kind != "TRL":
        trl.trainer.utils._use_triton = lambda device: True
        common |= {"gradient_checkpointing": False}
        packing = {"packing": True, "max_length": 512}
        common |= {"padding_free": True, "max_length": None} if kind == "TRL padding-free" else packing
    made = SFTTrainer(model, SFTConfig(**common), train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
made.add_callback(Watch())
made.train()
losses = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
print(json.dumps(found[0] | {"losses": losses}))
"""
)


def floor(setup: Any, spec: Any, steps: int) -> dict[str, float]:
    """CPU seconds and wall seconds of the model's matrix products alone, for the tokens of the first `steps` batches:
    forward, to the input, to the weights; the head for supervised tokens only; adapters and frozen weights as such."""
    import torch

    from trainer.backends.local.batches import BatchOrder

    order = BatchOrder(len(setup.train_set), spec.batch_size, spec.seed)
    cuts = []
    for step in range(steps):
        batch = [setup.train_set[i] for i in order.batch(*divmod(step, setup.plan.steps_per_epoch))]
        cuts += [(m.ids.numel(), len(m.targets)) for m in setup.compute.cut(batch).parts]
    head = setup.compute.ways.head
    products = [
        (m.weight.detach(), m.weight.requires_grad, m is head)
        for m in setup.compute.model.modules()
        if isinstance(m, torch.nn.Linear)
    ]
    width = {weight.shape[i]: torch.randn(3000, weight.shape[i]) for weight, _, _ in products for i in (0, 1)}
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.no_grad():
        for tokens, targets in cuts:
            for weight, learns, is_head in products:
                rows = targets if is_head else tokens
                for begin in range(0, rows, 512) if is_head else (0,):
                    some = min(512, rows - begin) if is_head else rows
                    x, slope = width[weight.shape[1]][:some], width[weight.shape[0]][:some]
                    _ = x @ weight.T
                    _ = slope @ weight
                    if learns:
                        _ = slope.T @ x
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def run(name: str, folder: Path, steps: int, threads: int) -> Any:
    program = OURS if name == "ours" else THEIRS
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1",
        "FINETUNEGEM_CACHE": f"{folder}/cache", "TRL_EXPERIMENTAL_SILENCE": "1",
    }  # fmt: skip
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    arguments = [name, str(folder), str(steps), str(threads)]
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", program, *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
