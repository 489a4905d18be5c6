"""What a row means: the shapes data comes in, how one is told, and how a row of it becomes a conversation.

A shape is told by keys, never by guessing at contents: one that several would fit is refused with what settles it.
To add a pair of keys: one line in PAIRS. To add another shape: one function and one line in SHAPES.
It knows no files and no lines, so its sentences begin at "what"; the reader puts the place in front.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from trainer.data import columns as mapping
from trainer.data.checks import checked
from trainer.data.columns import listed
from trainer.data.converters import (
    USUAL,
    Beside,
    Convert,
    Row,
    chosen_answers,
    kept_answers,
    message_list,
    pair,
    raw_text,
    tagged,
    vertex,
)
from trainer.data.errors import DataError
from trainer.data.messages import OPENAI, SHAREGPT, Conversation, LeftOut, MediaError, Message, RowError, refuse_media

__all__ = [
    "PAIRS", "SHAPES", "WANTED", "Conversation", "LeftOut", "Message", "RowError", "Shape", "conversation", "detect",
    "shape_of",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """`needs`: the keys that tell it; `takes`: those it reads besides; `columns`: what a person writes to ask for it;
    `note`: what to know before training on it; `why`: how it was told, once it was."""

    name: str
    needs: tuple[str, ...]
    convert: Convert
    takes: tuple[str, ...] = ()
    columns: str = ""
    note: str = ""
    fits: Callable[[Row], bool] = lambda row: True
    why: str = ""

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(self.needs + self.takes)


_BESIDE = (*USUAL.system, *USUAL.tools)

# Question, answer, and a text that belongs to the question: behind it, or (True) before it.
PAIRS = (
    ("instruction", "output", "input", False),  # Alpaca
    ("instruction", "response", "context", False),  # Dolly
    ("prompt", "completion", "", False),
    ("prompt", "response", "", False),
    ("question", "answer", "context", True),
    ("question", "answers", "context", True),  # SQuAD; the first of several answers
    ("question", "response", "context", True),
    ("query", "response", "context", True),
    ("query", "answer", "context", True),
    ("problem", "solution", "", False),
    ("input", "output", "", False),
    ("text_input", "output", "", False),  # Gemini API
    ("source", "target", "", False),
    ("user", "assistant", "", False),
)


def _pair_shape(question: str, answer: str, extra: str, first: bool) -> Shape:
    return Shape(
        f"{question}/{extra}/{answer}" if extra == "input" else f"{question}/{answer}",
        (question, answer),
        pair(question, answer, extra, first),
        ((extra,) if extra else ()) + (*USUAL.history, *_BESIDE),
        f"prompt={question},completion={answer}",
    )


_BASES = (
    Shape("messages", ("messages",), message_list("messages", OPENAI), _BESIDE, "messages=messages"),
    Shape(
        "conversations",
        ("conversations",),
        message_list("conversations", SHAREGPT),
        _BESIDE,
        "messages=conversations",
    ),
    *(_pair_shape(*keys) for keys in PAIRS),
)
_PREFERENCE = Shape(
    "chosen/rejected",
    ("chosen", "rejected"),
    chosen_answers,
    ("prompt", "instruction", "input", "question", "query", "messages", "conversations", *_BESIDE),
    "messages=chosen",
    "a preference set: training on the chosen answers",
)


def _kto_shape(base: Shape, tag: str) -> Shape:
    return Shape(
        f"{base.name}/{tag}",
        (*base.needs, tag),
        kept_answers(base.convert, tag),
        base.takes,
        base.columns,
        f"a KTO set: training on the rows whose {tag} is true",
        lambda row: tagged(row[tag]) is not None,
    )


SHAPES = (
    *_BASES,
    Shape("contents", ("contents",), vertex, ("systemInstruction", "system_instruction", "tools")),  # Vertex
    _PREFERENCE,
    *(_kto_shape(base, tag) for base in _BASES for tag in ("kto_tag", "label")),
    Shape("text", ("text",), raw_text("text"), (), "text=text"),
)
WANTED = (
    "messages; conversations; contents; chosen and rejected; text; or a question and its answer, such as "
    + ", ".join(f"{question} and {answer}" for question, answer, *_ in PAIRS[:6])
)


def detect(values: Sequence[object], columns: str = "") -> Shape | None:
    """The shape of most of the values, the first rows of the data, and why; None where there are none.

    Raises DataError for images and audio, for a shape that is unknown or not the only one, and for columns that
    don't fit.
    """
    rows = [value for value in values if isinstance(value, Mapping)]
    if not values:
        return None
    if not rows:
        raise DataError(f"the rows are {_kind(values[0])} and not objects: wanted are {WANTED}.")
    shape, like = _mapped(columns, rows) if columns.strip() else _most(rows)
    _refuse_media_sets(shape, like)
    tools = sum(bool(row.get("tools") or row.get("functions")) for row in like)
    name = f"{shape.name} with tools" if 2 * tools > len(like) and "tools" in shape.takes else shape.name
    return replace(shape, name=name, why=_why(shape, rows, like))


def shape_of(row: object) -> Shape | None:
    """The shape of one row by its keys, the first of several; None where there is none."""
    return next(iter(_matching(row)), None) if isinstance(row, Mapping) else None


def conversation(row: object, shape: Shape) -> Conversation:
    """The row's conversation, checked: it teaches something. Raises RowError; LeftOut for a row that is fine and not
    to be learnt from."""
    if type(row) is not dict and not isinstance(row, Mapping):  # the second takes longer
        raise RowError("the row is not an object")
    for key in shape.needs:
        if key not in row:
            raise RowError(_another(row, shape))
    refuse_media(row)
    return checked(shape.convert(row))


def _matching(row: Row) -> list[Shape]:
    """All shapes that the row could be; one that another takes in is left out, and so is text beside any other."""
    there = {key for key, value in row.items() if value is not None}
    found = _with_keys(row, there) or _with_keys(row, row.keys())
    if len(found) > 1:
        found = [shape for shape in found if shape.name != "text"]
    return [
        shape
        for shape in found
        if not any(shape is not other and other.keys.issuperset(shape.needs) for other in found)
    ]


def _with_keys(row: Row, keys: Collection[str]) -> list[Shape]:
    return [shape for shape in SHAPES if all(key in keys for key in shape.needs) and shape.fits(row)]


def _most(rows: Sequence[Row]) -> tuple[Shape, Sequence[Row]]:
    """The shape that most rows have, and those rows."""
    matches = [_matching(row) for row in rows]
    names = Counter(tuple(shape.name for shape in found) for found in matches)
    most = names.most_common(1)[0][0]
    like = [row for row, found in zip(rows, matches, strict=True) if tuple(s.name for s in found) == most]
    shapes = next(found for found in matches if tuple(s.name for s in found) == most)
    if not shapes:
        raise DataError(
            f"the rows have {_keys(like[0])}: wanted are {WANTED}; or say which is which with columns, as in "
            "prompt=question,completion=answer."
        )
    if len(shapes) > 1:
        ways = " or ".join(shape.columns for shape in shapes if shape.columns)
        raise DataError(
            f"the rows can be read as {' and as '.join(most)} (they have {_keys(like[0])}): "
            f"say which with columns: {ways}."
        )
    return shapes[0], like


def _mapped(said: str, rows: Sequence[Row]) -> tuple[Shape, Sequence[Row]]:
    """The shape that a person says."""
    where = mapping.parse(said)
    mapping.check_there(where, dict.fromkeys(key for row in rows for key in row))
    system, tools = ((where[target],) if target in where else () for target in ("system", "tools"))
    beside = Beside(system, tools)
    needs = tuple(where[target] for target in ("text", "messages", "prompt", "completion") if target in where)
    if "text" in where:
        convert = raw_text(where["text"])
    elif "messages" in where:
        convert = message_list(where["messages"], SHAREGPT, beside)
    else:
        convert = pair(where["prompt"], where["completion"], where.get("input", ""), beside=beside)
    shape = Shape(
        " and ".join(f"{target}={column}" for target, column in where.items()), needs, convert, tuple(where.values())
    )
    return shape, [row for row in rows if all(key in row for key in needs)]


def _refuse_media_sets(shape: Shape, rows: Sequence[Row]) -> None:
    """A single row with an image is a bad row; a set of them is not what can be trained on here."""
    held = Counter(what for row in rows if (what := _medium(shape, row)))
    if 2 * held.total() > len(rows):
        raise DataError(f"the rows hold {held.most_common(1)[0][0]}: only text is learnt here; give a text-only set.")


def _medium(shape: Shape, row: Row) -> str:
    try:
        conversation(row, shape)
    except MediaError as error:
        return error.what
    except RowError:
        return ""
    return ""


def _why(shape: Shape, rows: Sequence[Row], like: Sequence[Row]) -> str:
    share = f"all {len(rows)}" if len(like) == len(rows) else f"{len(like)} of the {len(rows)}"
    keys = list(dict.fromkeys(key for row in like for key, value in row.items() if value is not None))
    read = [key for key in keys if key in shape.keys]
    unused = [key for key in keys if key not in shape.keys]
    parts = [f"{share} rows looked at have {listed(read)}", shape.note]
    if "answers" in shape.needs:
        parts.append("the first of several answers is taken")
    if unused:
        parts.append(f"not used: {listed(unused)}")
    return "; ".join(part for part in parts if part)


def _another(row: Row, shape: Shape) -> str:
    other = shape_of(row)
    if other:
        return f"the row is {other.name} while most are {shape.name}"
    return f"the row has {_keys(row)}, not the keys of {shape.name}"


def _keys(row: Row) -> str:
    return f"the keys {listed(row)}" if row else "no keys"


def _kind(value: object) -> str:
    """What a value is, in JSON's words."""
    kinds = {list: "lists", str: "strings", int: "numbers", float: "numbers", bool: "true or false"}
    return kinds.get(type(value), "null")
