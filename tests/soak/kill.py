"""kill -9 on real hosts: a run killed again and again is compared bit by bit with one that was left alone.

    python -m tests.soak.kill --kills 100        # prints one line a kill and the verdict; exit 1 on any difference

The share of kills aimed at a save waits for a checkpoint's temporary folder; the rest come at random moments. The run
left alone has a host that was started cold, those that are killed come out of a forge, without loading the libraries.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.forge import Forge
from trainer import launch, rundir
from trainer.events import Entry
from trainer.follow import Follower
from trainer.rundir import RunDir
from trainer.spec import RunSpec

PATIENCE = 120.0  # seconds for anything


@dataclass
class Tally:
    """What the kills hit."""

    kills: int = 0
    in_save: int = 0
    log: list[str] = field(default_factory=list)


def spec_for(model: str, data: str, **fields: Any) -> RunSpec:
    """A run that saves often: every second step a checkpoint, dropout, a curved schedule."""
    given = {"model": model, "data": data, "epochs": 12, "batch_size": 4, "eval_share": 0.25, "learning_rate": 0.01}
    return RunSpec(**{**given, "save_every": 2, "schedule": "cosine", "method": "lora", "lora_dropout": 0.1, **fields})


def undisturbed(spec: RunSpec, runs: Path) -> RunDir:
    run = launch.start(runs, spec)
    until_dead(run)
    return run


def disturbed(spec: RunSpec, runs: Path, kills: int, seed: int = 0, aimed: float = 0.6) -> tuple[RunDir, Tally]:
    """The same run, killed and resumed; it is given fresh legs until all kills are spent, then runs to its end."""
    dice, tally = random.Random(seed), Tally()
    run = rundir.create(runs, spec)
    with Forge() as forge:
        forge.start(run)
        while tally.kills < kills and kill(run, dice, aimed, tally):
            forge.start(run)
        until_dead(run)
    return run, tally


def kill(run: RunDir, dice: random.Random, aimed: float, tally: Tally) -> bool:
    """One kill; False when the run came to its end first."""
    if dice.random() < aimed:
        for left in reversed(range(dice.randint(1, 5))):
            _await_save(run, True)
            if left:
                _await_save(run, False)
    else:
        time.sleep(dice.uniform(0.1, 4.0))
    pid = run.holder()
    if pid is None:
        return Follower(run).look().state.ending is None
    os.kill(pid, signal.SIGKILL)
    saving = _saving(run)
    while run.holder() is not None:
        time.sleep(0.01)
    tally.kills += 1
    tally.in_save += saving
    tally.log.append(f"kill {tally.kills}: step {Follower(run).look().state.step}{', in a save' if saving else ''}")
    return True


def _await_save(run: RunDir, begun: bool) -> None:
    """Wait until a save has begun (or ended), or the host is gone."""
    deadline = time.monotonic() + PATIENCE
    while _saving(run) is not begun and run.holder() is not None and time.monotonic() < deadline:
        time.sleep(0.0005)


def _saving(run: RunDir) -> bool:
    return any((run.path / "checkpoints").glob(".tmp-*"))


def until_dead(run: RunDir) -> None:
    deadline = time.monotonic() + 10 * PATIENCE
    while run.holder() is not None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{run.name} does not end")
        time.sleep(0.1)


def account(run: RunDir) -> dict[str, Any]:
    """All that must be equal: every number of the folded log, the order of the log, the bytes that are left."""
    state = Follower(run).look().state
    steps, evals = state.steps, state.evals
    entries, _, bad = run.read_events()
    newest = max((run.path / "checkpoints").glob("step-*"))
    files = [*(run.path / "model").glob("*.safetensors"), *newest.rglob("*.safetensors")]
    return {
        "ending": type(state.ending).__name__,
        "message": getattr(state.ending, "message", ""),
        "steps": [list(getattr(steps, name)) for name in ("step", "loss", "learning_rate", "grad_norm", "num_tokens")],
        "evals": [list(evals.step), list(evals.eval_loss)],
        "kept": (state.saved.step, state.saved.eval_loss) if state.saved else None,
        "log": (bad, _in_order(entries)),
        "files": {str(f.relative_to(run.path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)},
    }


def _in_order(entries: list[Entry]) -> bool:
    return [entry.seq for entry in entries] == list(range(len(entries)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="builtin:tiny")
    parser.add_argument("--data", default="builtin:codephreak")
    options = parser.parse_args()
    epochs = 2 + options.kills // 10  # so that the kills are spent before the run is at its end
    spec = spec_for(options.model, options.data, epochs=epochs, batch_size=8)
    with tempfile.TemporaryDirectory() as folder:
        whole = account(undisturbed(spec, Path(folder) / "one"))
        run, tally = disturbed(spec, Path(folder) / "two", options.kills, options.seed)
        broken = account(run)
    print("\n".join(tally.log))
    print(broken["ending"], broken["message"])
    wrong = [name for name in whole if whole[name] != broken[name]]
    print(f"{tally.kills} kills, {tally.in_save} of them in a save; different: {', '.join(wrong) or 'nothing'}")
    return 1 if wrong or tally.kills < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())
