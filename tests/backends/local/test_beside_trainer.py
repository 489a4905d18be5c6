"""Fifty steps beside transformers' own Trainer: the same losses, the same eval loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)

from tests.backends.local.conftest import DataMaker, ModelMaker
from tests.backends.local.runs import only, whole
from trainer.backends.local.batches import BatchOrder
from trainer.backends.local.chat import encode
from trainer.data import load
from trainer.events import Evaluated, StepTaken
from trainer.spec import RunSpec

EPOCHS, BATCH, ROWS = 10, 4, 20
STEPS = EPOCHS * ROWS // BATCH


def rows_of(tokenizer: Any, file: Path) -> list[dict[str, Any]]:
    examples = [encode(tokenizer, example.conversation, 512) for example in load(str(file)).examples()]
    return [
        {
            "input_ids": one.ids.tolist(),
            "attention_mask": [1] * len(one.ids),
            "labels": torch.where(one.supervised, one.ids, -100).tolist(),
        }
        for one in examples
    ]


def trainers_losses(spec: RunSpec, folder: Path) -> tuple[list[float], float]:
    """Of transformers' Trainer on the same batches: each step's loss, and the mean over the held-out tokens after."""
    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(spec.model, dtype=torch.float32)
    rows, held_out = rows_of(tokenizer, Path(spec.data)), rows_of(tokenizer, Path(spec.eval_data))
    order = BatchOrder(ROWS, BATCH, spec.seed)
    places = [place for step in range(STEPS) for place in order.batch(*divmod(step, ROWS // BATCH))]
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=spec.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=5,
        max_grad_norm=1.0,
        weight_decay=0.1,
        optim="adamw_torch_fused",
        train_sampling_strategy="sequential",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(
        model, arguments, DataCollatorForSeq2Seq(tokenizer), Dataset.from_list([rows[place] for place in places])
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    model.eval()
    total, tokens = 0.0, 0
    for row in held_out:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        targets = int((labels[:, 1:] != -100).sum())
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=labels).loss) * targets
        tokens += targets
    return losses, total / tokens


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3"])
def test_fifty_steps_have_the_losses_of_transformers_own_trainer(
    make_model: ModelMaker, make_data: DataMaker, tmp_path: Path, name: str
) -> None:
    spec = RunSpec(
        model=str(make_model(name)),
        data=str(make_data(ROWS)),
        eval_data=str(make_data(7, "held-out")),
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=3e-3,
        schedule="cosine",
        warmup=0.1,
        weight_decay=0.1,
    )
    events = whole(spec, tmp_path / "ours")
    expected, eval_loss = trainers_losses(spec, tmp_path / "theirs")
    losses = [event.loss for event in only(StepTaken, events)]
    assert len(losses) == STEPS == 50
    assert losses == pytest.approx(expected, abs=1e-4)
    assert losses[-1] < losses[0] - 0.3  # it learns, so there was something to agree on
    assert only(Evaluated, events)[-1].eval_loss == pytest.approx(eval_loss, abs=1e-3)
