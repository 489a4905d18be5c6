"""What stands on disk at the end is what was named: through a real host, and read by a fresh process with plain
transformers, peft and arithmetic of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.backends.local.conftest import DataMaker, ModelMaker
from trainer import launch
from trainer.events import Evaluated, Event, Finished, ModelSaved
from trainer.rundir import RunDir
from trainer.spec import RunSpec

# Nothing of ours is imported: the loss is the mean over the assistant's tokens of all validation chats, where a
# ChatML answer stands between "<|im_start|>assistant\n" and "<|im_end|>", the latter included.
RECOMPUTE = """
import json, sys, torch, torch.nn.functional as F
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

def answer_loss(model, tokenizer, chats):
    opening = tokenizer("<|im_start|>assistant\\n", add_special_tokens=False)["input_ids"]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    total = count = 0
    for messages in chats:
        ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
        logits = model(torch.tensor([ids])).logits[0]
        answering = False
        for place in range(len(ids)):
            if answering:
                total += float(F.cross_entropy(logits[place - 1], torch.tensor(ids[place])))
                count += 1
                answering = ids[place] != end
            elif ids[: place + 1][-len(opening) :] == opening:
                answering = True
    return total / count, count

file, *folders = sys.argv[1:]
chats = [json.loads(line)["messages"] for line in open(file, encoding="utf-8")]
question = [{"role": "user", "content": "Where am I?"}]
torch.set_grad_enabled(False)
for folder in folders:
    kind, path = folder.split("=", 1)
    loader = AutoPeftModelForCausalLM if kind.startswith("lora") else AutoModelForCausalLM
    model = loader.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    loss, tokens = answer_loss(model, tokenizer, chats)
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=False)
    written = model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=8, do_sample=False)[0, len(prompt):]
    assert "trainer" not in sys.modules
    print(json.dumps({"kind": kind, "loss": loss, "tokens": tokens, "written": written.tolist()}))
"""
KINDS = ("full-best", "full-last", "lora-best", "lora-last")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chats that the training says nothing of: after a few epochs their loss rises."""
    file = tmp_path_factory.mktemp("held-out") / "eval.jsonl"
    chats = (("Sing!", "QWERTY 0123 ß"), ("Now!", "XYZ: {}/[]; ÄÖÜ 987"))
    rows = [[{"role": "user", "content": ask}, {"role": "assistant", "content": say}] for ask, say in chats]
    file.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def runs(
    make_model: ModelMaker, make_data: DataMaker, held_out: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, RunDir]:
    """Four runs, each in a host of its own, to their ends."""

    def start(kind: str) -> RunDir:
        method: Literal["full", "lora"] = "lora" if kind.startswith("lora") else "full"
        spec = RunSpec(
            model=str(make_model("llama-tied")),
            data=str(make_data(24)),
            eval_data=str(held_out),
            method=method,
            keep="last" if kind.endswith("last") else "best",
            learning_rate=0.02 if method == "lora" else 0.01,
            epochs=12,
            schedule="constant",
        )
        return launch.start(tmp_path_factory.getbasetemp() / "runs", spec)

    started = {kind: start(kind) for kind in KINDS}
    for run in started.values():
        wait_for(run)
    return started


def wait_for(run: RunDir, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while run.holder() is not None:
        assert time.monotonic() < deadline, run.host_log.read_text()
        time.sleep(0.05)
    for child in launch._children:
        child.wait(timeout=60)


@pytest.fixture(scope="module")
def recomputed(runs: dict[str, RunDir], held_out: Path) -> dict[str, dict[str, Any]]:
    """What a fresh process finds in the four folders; started where nothing of ours can be imported by accident."""
    folders = [f"{kind}={run.path / 'model'}" for kind, run in runs.items()]
    done = subprocess.run(
        [sys.executable, "-P", "-c", RECOMPUTE, str(held_out), *folders],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {each["kind"]: each for each in found}


def events_of(run: RunDir) -> list[Event]:
    events = [entry.event for entry in run.read_events()[0]]
    assert isinstance(events[-1], Finished), events[-1]
    return events


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_named_is_the_best_or_the_last(runs: dict[str, RunDir], kind: str) -> None:
    events = events_of(runs[kind])
    (saved,) = (event for event in events if isinstance(event, ModelSaved))
    evaluated = {event.step: event for event in events if isinstance(event, Evaluated) and event.step > 0}
    best = min(evaluated.values(), key=lambda event: event.eval_loss)
    last = evaluated[max(evaluated)]
    assert last.eval_loss > best.eval_loss + 1e-3  # the two can be told apart
    named = best if kind.endswith("best") else last
    assert (saved.keep, saved.step, saved.eval_loss) == (kind[5:], named.step, named.eval_loss)


@pytest.mark.parametrize("kind", KINDS)
def test_its_loss_recomputed_from_disk_is_the_one_logged(
    runs: dict[str, RunDir], recomputed: dict[str, dict[str, Any]], kind: str
) -> None:
    events = events_of(runs[kind])
    (saved,) = (event for event in events if isinstance(event, ModelSaved))
    assert recomputed[kind]["loss"] == pytest.approx(saved.eval_loss, abs=1e-3)
    assert recomputed[kind]["tokens"] == next(e.num_tokens for e in events if isinstance(e, Evaluated))
    assert recomputed[kind]["written"]
