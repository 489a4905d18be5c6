"""Reading training data: files → rows → conversations → an account and a split. No torch, no tokenizer."""

from trainer.data.dataset import MAX_BAD_SHARE, DataSet, Example, load, look
from trainer.data.errors import DataError
from trainer.data.messages import Conversation, Message
from trainer.data.rows import BadRow
from trainer.data.split import Split, split

__all__ = [
    "MAX_BAD_SHARE", "BadRow", "Conversation", "DataError", "DataSet", "Example", "Message", "Split", "load", "look",
    "split",
]  # fmt: skip
