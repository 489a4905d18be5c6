"""Training on this machine with torch and transformers. `loop.train` is the whole story, read top to bottom."""

from trainer.backends.local.loop import train

__all__ = ["train"]
