"""What looks like a key, and texts without it.

Keys come from the environment, Application Default Credentials or the keyring. They have no place in a setting, a log
or a traceback: `looks_like_key` refuses them at the door, `redact` takes them out of texts that others wrote (an
error that quotes a request, a library's warning). It knows shapes and the values of this process's environment; it
reads no file and no keyring, and it cannot know a key of a shape of its own that stands nowhere in the environment.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TextIO, cast

MARK = "[key removed]"

# A key may stand behind an escaped line break of JSON or repr, or behind a %3D of an address.
_FRONT = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2}))"
# How a key goes, and what surely stands in it (looked for first, since that is fast). None of them holds a quote, so
# a redacted line of JSON is one still.
_SHAPES: dict[str, tuple[str, ...]] = {
    r"hf_[A-Za-z0-9]{30,}": ("hf_",),  # Hugging Face
    r"api_org_[A-Za-z0-9]{30,}": ("api_org_",),
    r"AIza[0-9A-Za-z_-]{30,}": ("AIza",),  # Google, as are the next four
    r"AQ\.[0-9A-Za-z_-]{30,}": ("AQ.",),
    r"ya29\.[0-9A-Za-z_.-]{20,}": ("ya29.",),
    r"1//0[0-9A-Za-z_-]{30,}": ("1//0",),
    r"GOCSPX-[0-9A-Za-z_-]{20,}": ("GOCSPX-",),
    r"sk-(?:proj|ant|svcacct|admin|or|lf)-[0-9A-Za-z_-]{20,}": ("sk-",),  # OpenAI, Anthropic and many after them
    r"sk-[0-9A-Za-z]{20,}": ("sk-",),
    r"gsk_[0-9A-Za-z]{20,}": ("gsk_",),
    r"nvapi-[0-9A-Za-z_-]{20,}": ("nvapi-",),
    r"r8_[0-9A-Za-z]{30,}": ("r8_",),
    r"gh[opsur]_[0-9A-Za-z]{30,}": ("ghp_", "gho_", "ghs_", "ghu_", "ghr_"),
    r"github_pat_[0-9A-Za-z_]{30,}": ("github_pat_",),
    r"glpat-[0-9A-Za-z_-]{20,}": ("glpat-",),
    r"xox[abeprs]-[0-9A-Za-z-]{20,}": ("xox",),
    r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])": ("AKIA", "ASIA"),  # Amazon
    r"eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]*": ("eyJ",),  # a signed web token
}
_GAP = r"(?:\s|\\[nr])*"  # between the lines of a private key, which may stand escaped on one line
_PRIVATE_KEY = (
    rf"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:{_GAP}[A-Za-z0-9+/=]{{30,}})*"
    rf"(?:{_GAP}[A-Za-z0-9+/=]+(?={_GAP}(?:-----END|\Z)))?(?:{_GAP}-----END [A-Z ]*PRIVATE KEY-----(?:\\n)?)?"
)
_LOGIN = r"(?<=://)[^\s/@:\"'\\]*:[^\s/@\"'\\]+(?=@)"  # name and password in an address
_SURE_PARTS = (*dict.fromkeys(part for parts in _SHAPES.values() for part in parts), "PRIVATE KEY", "://")
_SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD")  # how the names of variables with keys end
_SURELY_SECRET = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GEMINI_API_KEY", "GOOGLE_API_KEY", "WANDB_API_KEY"}
_LONGEST_KEY = 20_000  # characters of a private key; without an end in sight it is none
_SHORTEST = 12  # a shorter value of some variable may well be an ordinary word


def looks_like_key(text: str) -> bool:
    """Whether a key stands in the text: by its shape, or because it is one that the environment holds."""
    return _has_shape(text) or any(value in text for value in _environment_values())


def redact(text: str) -> str:
    """The text with every key in it replaced; a text without one comes back as it is.

    Line breaks and quotes stay where they were, so JSON lines and tracebacks keep their form.
    """
    for value in _environment_values():
        if value in text:
            text = text.replace(value, MARK)
    return _shape().sub(MARK, text) if _has_shape(text) else text


def values_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values in an environment that count as keys, longest first; paths (of a credentials file) don't."""
    found = {value for name, value in environment.items() if _is_secret(name, value.strip())}
    return tuple(sorted((value.strip() for value in found), key=len, reverse=True))


def _is_secret(name: str, value: str) -> bool:
    if name in _SURELY_SECRET:
        return len(value) >= 8
    if not name.upper().endswith(_SECRET_NAMES) or len(value) < _SHORTEST or value.startswith(("/", "~", "./")):
        return False
    return any(c.isdigit() for c in value) and any(c.isalpha() for c in value) and not any(c.isspace() for c in value)


@cache
def _environment_values() -> tuple[str, ...]:
    """Looked up once: a log line must cost microseconds, and the environment of a process stays."""
    return values_of(os.environ)


def forget() -> None:
    """Look the environment up anew; for whoever changes it."""
    _environment_values.cache_clear()


@cache
def _shape() -> re.Pattern[str]:
    """Compiled when it is first needed: the first frame of the screen should not wait for it."""
    return re.compile(f"{_FRONT}(?:{'|'.join(_SHAPES)})|{_PRIVATE_KEY}|{_LOGIN}")


def _has_shape(text: str) -> bool:
    return any(part in text for part in _SURE_PARTS) and _shape().search(text) is not None


class RedactingStream:
    """A text stream that writes on to another, without keys.

    A key may come in pieces: so what is behind the last white space waits for what follows it, and a private key (of
    many lines) for its end. `flush` sends whole words only; `close` sends the rest. Bytes written past Python's
    streams (a library's C code) don't come by here.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting = ""
        self._mutex = threading.RLock()

    def write(self, text: str) -> int:
        with self._mutex:
            self._waiting += text
            if "\n" in text or "\r" in text:
                self._send(max(self._waiting.rfind("\n"), self._waiting.rfind("\r")) + 1)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._mutex:
            words = self._waiting.split()
            whole = not words or self._waiting[-1].isspace()
            self._send(len(self._waiting) - (0 if whole else len(words[-1])))
            self._stream.flush()

    def close(self) -> None:
        """Send what waits. The stream behind stays open, since it is not ours."""
        with self._mutex:
            rest, self._waiting = self._waiting, ""
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(redact(rest))
                self._stream.flush()

    def _send(self, end: int) -> None:
        """Write the first `end` characters, but not a private key whose end has not come."""
        begun = self._waiting.rfind("-----BEGIN ", 0, end)
        key = self._waiting[begun:end] if begun >= 0 else ""
        if key and len(key) < _LONGEST_KEY and _is_open(key):
            end = begun
        sent, self._waiting = self._waiting[:end], self._waiting[end:]
        self._stream.write(redact(sent))

    def __getattr__(self, name: str) -> object:
        """Encoding, file number and the like are those of the stream behind."""
        return getattr(self._stream, name)


def _is_open(key: str) -> bool:
    """Whether more of a private key may follow; its first words may be all that has come."""
    first, broken, _ = key.partition("\n")
    if broken and "PRIVATE KEY-----" not in first:
        return False
    return "KEY-----" not in key.partition("-----END ")[2]


def install() -> None:
    """From here on nothing that Python code prints in this process holds a key. For the start of a host."""
    forget()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, RedactingStream):
            redacting = RedactingStream(stream)
            setattr(sys, name, cast(TextIO, redacting))
            atexit.register(redacting.close)
