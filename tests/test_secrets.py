"""What looks like a key is known, refused where it does not belong, and taken out of what others wrote."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.keys import CANARIES, PRIVATE, leaks
from trainer import secrets
from trainer.secrets import MARK, RedactingStream, looks_like_key, redact, values_of

SHAPED = {name: key for name, key in CANARIES.items() if name != "WANDB_API_KEY"}
AROUND = [
    "{}",
    "token={}",
    "Bearer {}",
    "'{}'",
    '{{"key": "{}"}}',
    "\\n{}",
    "?key%3D{}&x=1",
    "a{{{}}}b",
    "x_{}",
    "{}, ",
]
ORDINARY = [
    "codephreak", "builtin:tiny", "Qwen/Qwen2.5-0.5B-Instruct", "/home/me/models/hf_models_of_mine/task-force",
    "sk-learn", "task-0123456789abcdef0123456789abcdef", "disk-abcdefghijklmnopqrstuvwxyz", "https://example.org:80/x",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "file:///x", "user@example.org",
    "learning rate 1e-3, AIza", "eyJ.eyJ.x", "hf_x", "-----BEGIN CERTIFICATE-----", "https://example.org/a:b@c",
    "2026-11-23-1412-codephreak-7f3a", "AKIA", "the ghp_ prefix", "ya29.",
]  # fmt: skip


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """The environment is looked up anew for each test, and after it."""
    secrets.forget()
    yield
    secrets.forget()


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("name", SHAPED)
def test_a_key_is_known_by_its_shape_wherever_it_stands(name: str, around: str) -> None:
    text = around.format(SHAPED[name])
    assert looks_like_key(text)
    assert not leaks(redact(text).encode())
    assert MARK in redact(text)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert not looks_like_key(text)
    assert redact(text) is text


def test_a_private_key_goes_as_a_whole_over_its_lines_and_without_its_end() -> None:
    assert redact(f"before\n{PRIVATE}\nafter") == f"before\n{MARK}\nafter"
    assert redact(f"before\n{PRIVATE[:90]}") == f"before\n{MARK}"


def test_a_login_in_an_address_loses_name_and_password_only() -> None:
    assert redact("via http://me:s3cret@proxy:3128/x failed") == f"via http://{MARK}@proxy:3128/x failed"


def test_a_line_of_json_is_one_still() -> None:
    line = json.dumps({"message": f"401 for {CANARIES['HF_TOKEN']}", "more": PRIVATE, "step": 3})
    assert json.loads(redact(line)) == {"message": f"401 for {MARK}", "more": MARK, "step": 3}


def test_what_the_environment_holds_is_a_key_whatever_its_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARIES["WANDB_API_KEY"])
    monkeypatch.setenv("MY_OWN_TOKEN", "letters4nd-numbers")
    secrets.forget()
    assert looks_like_key(CANARIES["WANDB_API_KEY"])
    assert redact("x letters4nd-numbers y") == f"x {MARK} y"


def test_settings_and_paths_in_the_environment_are_no_keys() -> None:
    environment = {
        "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/key.json",
        "API_KEY": "short1",
        "SSH_KEY": "/home/me/.ssh/id_ed25519_0001",
        "TOKENIZERS_PARALLELISM": "false",
        "SOME_TOKEN": "only-letters-here",
        "HOME": "/home/someone123",
        "HF_TOKEN": "",
    }
    assert values_of(environment) == ()


def test_a_longer_key_goes_before_one_that_is_its_beginning() -> None:
    assert values_of({"A_KEY": "abcdef123456", "B_KEY": "abcdef123456789"}) == ("abcdef123456789", "abcdef123456")


# --- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("name", SHAPED)
def test_a_stream_finds_a_key_that_comes_in_pieces(name: str, size: int, flushed: bool) -> None:
    out = io.StringIO()
    stream = RedactingStream(out)
    text = f"it said {SHAPED[name]} and went\rprogress\n{PRIVATE}\nlast words"
    for begin in range(0, len(text), size):
        stream.write(text[begin : begin + size])
        if flushed:
            stream.flush()
    stream.close()
    said = out.getvalue()
    assert not leaks(said.encode())
    assert said.endswith("last words")
    assert "it said " in said
    assert "\rprogress\n" in said


def test_a_stream_holds_nothing_back_but_the_last_word() -> None:
    out = io.StringIO()
    stream = RedactingStream(out)
    stream.write("10 %\r20 %")
    assert out.getvalue() == "10 %\r"
    stream.flush()
    assert out.getvalue() == "10 %\r20 "
    stream.writelines([" a\n", "b "])
    stream.flush()
    assert out.getvalue() == "10 %\r20 % a\nb "


def test_a_private_key_without_an_end_is_not_waited_for_for_ever() -> None:
    out = io.StringIO()
    stream = RedactingStream(out)
    stream.write(PRIVATE[:60] + "\n")
    for number in range(3000):
        stream.write(f"an ordinary line {number}\n")
    stream.close()
    assert out.getvalue().count("an ordinary line") == 3000
    assert not leaks(out.getvalue().encode())


PRINTS = """
import logging, os, sys, threading, warnings
from trainer import secrets
secrets.install()
secrets.install()
key = os.environ["HF_TOKEN"]
print("printed", key)
logging.getLogger().error("logged %s", key)
warnings.warn(f"warned {key}")
def fail():
    raise ValueError(f"thrown in a thread {key}")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
sys.stderr.write(f"without an end {key}")
raise KeyError(f"thrown {key}")
"""


def test_what_a_process_prints_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARIES["HF_TOKEN"])
    done = subprocess.run([sys.executable, "-P", "-c", PRINTS], capture_output=True, check=False)
    assert done.returncode == 1
    assert not leaks(done.stdout + done.stderr)
    for word in (b"logged ", b"warned ", b"thrown in a thread ", b"without an end ", b"KeyError: 'thrown "):
        assert word + MARK.encode() in done.stderr
    assert done.stdout == f"printed {MARK}\n".encode()
