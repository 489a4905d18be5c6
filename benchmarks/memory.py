"""The memory of a step three ways: the closed formula, the step on `meta`, and the peak that was measured.

    python benchmarks/memory.py [--json]

Every combination is a small random Llama made on the spot, trained on examples that are all learnt, in a process of
its own: the measured peak is weights and states counted, plus what the resident set grew by over two steps. It is
measured twice: as the C library keeps memory, and with `MALLOC_MMAP_THRESHOLD_=65536`, under which it gives every
block back at once and so shows what the step itself holds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig

from trainer.backends.local import meta, optim
from trainer.backends.local.chat import Encoded
from trainer.backends.local.compute import Compute
from trainer.backends.local.model import Loaded, with_new_adapters
from trainer.backends.local.peak import Peak
from trainer.insight import estimate
from trainer.insight.estimate import Device
from trainer.spec import RunSpec

PLAIN = {"MALLOC_MMAP_THRESHOLD_": "65536"}


@dataclass(frozen=True)
class Case:
    """hidden x layers, vocabulary, examples of so many tokens, and how it learns."""

    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    batch: int
    tokens: int
    method: str
    optimizer: str = "adamw"

    def __str__(self) -> str:
        how = self.method if self.optimizer == "adamw" else f"{self.method}, {self.optimizer}"
        return f"{self.hidden}x{self.layers}, vocabulary {self.vocabulary:,}, {self.batch} x {self.tokens}, {how}"

    @property
    def config(self) -> Any:
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden // 64,
            num_key_value_heads=self.hidden // 64,
            tie_word_embeddings=True,
        )

    @property
    def spec(self) -> RunSpec:
        return RunSpec(batch_size=self.batch, method=self.method, optimizer=self.optimizer)  # type: ignore[arg-type]

    @property
    def examples(self) -> list[Encoded]:
        ids, learnt = torch.zeros(self.tokens, dtype=torch.int64), torch.ones(self.tokens, dtype=torch.bool)
        return [Encoded(ids, learnt, cut=False)] * self.batch


CASES = (
    Case(256, 768, 6, 8192, 8, 256, "full"),
    Case(256, 768, 6, 8192, 8, 256, "lora"),
    Case(256, 768, 4, 65536, 4, 256, "full"),
    Case(512, 1536, 8, 8192, 4, 256, "full"),
    Case(512, 1536, 8, 8192, 4, 256, "full", "sgd"),
    Case(512, 1536, 8, 8192, 4, 256, "lora"),
    Case(768, 2048, 10, 16384, 2, 512, "full"),
    Case(192, 512, 4, 2048, 32, 512, "full"),
)


def measure(case: Case) -> int:
    """Bytes at the peak of a real step here."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(case.config)
    if case.method == "lora":
        model = with_new_adapters(model, case.spec)
    compute = Compute(
        Loaded(model, torch.device("cpu"), torch.float32, 0, 0, case.vocabulary),
        case.vocabulary,
    )
    optimizer = optim.make_optimizer(model, case.spec)
    optim.allocate(optimizer)
    states = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    held: int = sum(t.numel() * t.element_size() for t in (*model.parameters(), *states))
    compute.gradients(case.examples[:1], lambda: False)
    model.zero_grad(set_to_none=True)
    with Peak(torch.device("cpu")) as peak:
        compute.gradients(case.examples, lambda: False)
        optimizer.step()
    return held + peak.bytes


def formula(case: Case) -> estimate.Memory:
    shape = estimate.shape_of(case.config.to_dict(), None)
    assert shape is not None
    return estimate.memory(
        shape,
        method=case.spec.method,
        lora_rank=case.spec.lora_rank,
        optimizer=case.optimizer,
        batch_size=case.batch,
        longest=case.tokens,
        device=Device(None),
    )


def measured(at: int, environment: dict[str, str]) -> int:
    command = [sys.executable, "-P", __file__, "--measure", str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return int(done.stdout.split()[-1])


def row(at: int) -> dict[str, Any]:
    case = CASES[at]
    closed, stepped = formula(case), meta.one_step(case.spec, "", case.examples, config=case.config).peak
    return {
        "case": str(case),
        "low": closed.low,
        "high": closed.high,
        "meta": stepped,
        "measured": measured(at, {}),
        "measured_plain": measured(at, PLAIN),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(measure(CASES[options.measure]))
        return
    if not options.json:
        versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
        print(f"Python {platform.python_version()}, {versions}, {torch.get_num_threads()} thread(s); MB\n")
        print("| case | formula | meta | measured | the same, blocks given back | meta / that |")
        print("|---|---|---|---|---|---|")
    for at in range(len(CASES)):
        found = row(at)
        if options.json:
            print(json.dumps(found), flush=True)
            continue
        mb = {name: f"{value / 1e6:,.0f}" for name, value in found.items() if name != "case"}
        ratio = found["meta"] / found["measured_plain"]
        cells = (found["case"], f"{mb['low']}–{mb['high']}", mb["meta"], mb["measured"], mb["measured_plain"])
        print(f"| {' | '.join(cells)} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
