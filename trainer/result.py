"""What came out of a run, in words a person can use: where the model is and how to load it."""

from __future__ import annotations

from pathlib import Path

from trainer.events import ModelSaved


def loading_lines(saved: ModelSaved, run: Path) -> tuple[str, str]:
    """The two lines of Python that load the result: plain transformers for full, peft for LoRA."""
    kind, package = ("AutoModelForCausalLM", "transformers")
    if saved.method == "lora":
        kind, package = ("AutoPeftModelForCausalLM", "peft")
    folder = str(run / saved.path)
    return f"from {package} import {kind}", f"model = {kind}.from_pretrained({folder!r})"


def kept_sentence(saved: ModelSaved) -> str:
    """What was kept: "Kept the best: step 120, eval loss 2.314." """
    which = "the best" if saved.keep == "best" else "the last step"
    loss = f"eval loss {saved.eval_loss:.4g}" if saved.eval_loss is not None else "not evaluated"
    return f"Kept {which}: step {saved.step:,}, {loss}."
