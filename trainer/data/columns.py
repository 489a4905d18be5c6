"""What a person says about the columns: `prompt=question,completion=answer`, read and checked.

Each target is what the trainer wants, each column what the data calls it. It knows no rows: whether the columns are
there is checked against names that the caller has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from trainer.data.errors import DataError, quoted

# What can be said to stand where, and what it is.
TARGETS = {
    "messages": "a list of messages",
    "prompt": "the question, as text or messages",
    "completion": "the answer to it",
    "input": "text that goes behind the prompt",
    "system": "the system message",
    "tools": "the tools that may be called",
    "text": "raw text",
}
# What is needed together, and what may stand beside it.
_SETS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("messages",): ("system", "tools"),
    ("prompt", "completion"): ("input", "system", "tools"),
    ("text",): (),
}


def parse(said: str) -> dict[str, str]:
    """Target → column. Raises DataError with a sentence for what can't be meant."""
    mapping: dict[str, str] = {}
    for pair in said.split(","):
        target, equals, column = (part.strip() for part in pair.partition("="))
        if not equals or not target or not column:
            raise _wrong(f"{quoted(pair.strip(), 40)} is not target=column")
        if target not in TARGETS:
            raise _wrong(f"{quoted(target, 40)} is none of {', '.join(TARGETS)}")
        if target in mapping:
            raise _wrong(f"{target} is given twice")
        mapping[target] = column
    _check_together(mapping)
    return mapping


def check_there(mapping: dict[str, str], keys: Collection[str]) -> None:
    """Raises DataError for a column that the data has not."""
    for column in mapping.values():
        if column not in keys:
            raise DataError(f"columns: there is no column {quoted(column, 40)}: the data has {listed(keys)}.")


def listed(keys: Iterable[object], most: int = 12) -> str:
    """Names of keys for a sentence, cut short."""
    names = [quoted(str(key), 30)[1:-1] for key in keys]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _check_together(mapping: dict[str, str]) -> None:
    whole = [main for main in _SETS if mapping.keys() >= set(main)]
    if len(whole) > 1:
        raise _wrong(f"{' and '.join(main[0] for main in whole)} don't go together")
    if not whole:
        half = next((target for target in ("prompt", "completion") if target in mapping), "")
        other = {"prompt": "completion", "completion": "prompt"}.get(half)
        raise _wrong(
            f"{half} needs {other} beside it" if half else "messages, prompt and completion, or text is missing"
        )
    (main,) = whole
    for target in mapping:
        if target not in (*main, *_SETS[main]):
            raise _wrong(f"{' and '.join(main)} and {target} don't go together")


def _wrong(what: str) -> DataError:
    return DataError(f"columns: {what}: write it as in prompt=question,completion=answer.")
