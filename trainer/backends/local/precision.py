"""What products are computed in: torch's autocast, asked so that `meta`, which has none, answers too."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The type that products on the device are made in now; None where it is that of their factors."""
    kind = device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


def as_given(device: torch.device) -> AbstractContextManager[object]:
    """A block in which products are made in the type of their factors."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
