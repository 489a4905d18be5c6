"""Reading training data: files → rows → conversations → a split. No torch, no tokenizer."""

from trainer.data.dataset import MAX_BAD_SHARE, BadRow, DataError, DataSet, Example, Message, load
from trainer.data.split import Split, split

__all__ = ["MAX_BAD_SHARE", "BadRow", "DataError", "DataSet", "Example", "Message", "Split", "load", "split"]
