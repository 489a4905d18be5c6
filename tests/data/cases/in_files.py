"""What the file system holds besides regular files, and folders."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from tests.data.cases.in_parquet import parquet
from tests.data.cases.making import ROWS, TEN, Make, accepted, refused, table, warned, write


def folder_of(*made: Make, name: str = "data") -> Make:
    def make(folder: Path) -> Path:
        inside = folder / name
        inside.mkdir()
        for each in made:
            each(inside)
        return inside

    return make


def link(target: str, name: str = "data.jsonl") -> Make:
    def make(folder: Path) -> Path:
        (folder / name).symlink_to(target)
        return folder / name

    return make


def after(first: Make, then: Make) -> Make:
    def make(folder: Path) -> Path:
        first(folder)
        return then(folder)

    return make


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "data.jsonl")
    return folder / "data.jsonl"


def unix_socket(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(".", os.O_RDONLY)
        os.chdir(folder)  # the whole path may be longer than a socket's name can be
        try:
            made.bind("data.jsonl")
        finally:
            os.fchdir(here)
            os.close(here)
    return folder / "data.jsonl"


def mode(make: Make, bits: int) -> Make:
    def changed(folder: Path) -> Path:
        path = make(folder)
        path.chmod(bits)
        return path

    return changed


def no_bytes(folder: Path) -> Path:
    return Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.jsonl"))


def odd_bytes(folder: Path) -> Path:
    return write(TEN, no_bytes(folder).name)(folder)


TEN_FILE = write(TEN)
CASES = [
    refused("missing", "no such file", lambda folder: folder / "nowhere.jsonl", "no such file", "check the path"),
    refused("below a file", "a path that leads through a file", lambda folder: TEN_FILE(folder) / "x.jsonl",
            "can't be read"),
    refused("long name", "a name of 5000 characters", lambda folder: folder / ("x" * 5000), "can't be read"),
    refused("fifo", "a FIFO, which would wait for ever", fifo, "a FIFO, not a regular file"),
    refused("socket", "a socket", unix_socket, "a socket, not a regular file"),
    refused("device", "a device that never ends", lambda _: Path("/dev/zero"), "a device, not a regular file"),
    refused("link to a device", "a link to a device", link("/dev/urandom"), "a device, not a regular file"),
    refused("link to nothing", "a link that leads nowhere", link("nowhere"), "no such file"),
    refused("link to itself", "a link to itself", link("data.jsonl"), "can't be read", "symbolic links"),
    refused("no permission", "no permission to read", mode(TEN_FILE, 0), "can't be read (Permission denied)",
            root=True),
    refused("closed folder", "no permission to look into the folder", mode(folder_of(TEN_FILE), 0), "Permission denied",
            root=True),
    refused("empty folder", "a folder without files", folder_of(), "no data file"),
    refused("folder of others", "a folder without data files", folder_of(write("x", "notes.pdf")), "no data file"),
    refused("folder of folders", "a folder of folders", folder_of(folder_of(TEN_FILE, name="train")),
            "no data file", "train: give one of them"),
    refused("folder with a loop", "a folder with itself in it", folder_of(link(".", "again")), "no data file", "again"),
    refused("fifo in a folder", "a FIFO in a folder", folder_of(write(TEN, "a.jsonl"), fifo), "not a regular file"),
    refused("damage in a folder", "one damaged file in a folder",
            folder_of(write(TEN, "a.jsonl"), write(b"\xff{}\n", "b.jsonl")), "not UTF-8", line=1),
    refused("newline in a name", "a damaged file with a line break and a colour in its name",
            write("[", "two\nlines\x1b[31m.json"), r"two\nlines\x1b[31m.json", "breaks off", line=1),
    refused("odd bytes damaged", "a missing file whose name is no UTF-8", no_bytes, r"\xff\xfe.jsonl", "no such file"),
    accepted("dash name", "a name like an option", write(TEN, "-rf.jsonl"), 10),
    accepted("255 bytes", "a name of 255 bytes", write(TEN, "x" * 249 + ".jsonl"), 10),
    accepted("line break in a name", "a line break in the name", write(TEN, "two\nlines.jsonl"), 10),
    accepted("odd bytes", "a name that is no UTF-8", odd_bytes, 10),
    accepted("link", "a link to a regular file", after(write(TEN, "real.jsonl"), link("real.jsonl")), 10),
    accepted("folder", "a folder of files, mixed formats",
             folder_of(write(TEN, "b.jsonl"), write(json.dumps(ROWS), "a.json"), parquet(), write(TEN, ".hidden.jsonl"),
                       write(table("prompt,completion", "a,b"), "c.csv")), 17),
    warned("other files", "files of other kinds in the folder", folder_of(TEN_FILE, write("x", "notes.pdf")), 10,
           "not read are notes.pdf"),
    warned("readme", "a README in the folder", folder_of(TEN_FILE, write("# Hello\n", "README.md")), 10, "README.md"),
    warned("held out", "a test file in the folder", folder_of(write(TEN, "train.jsonl"), write(TEN, "test.jsonl")), 10,
           "test.jsonl", "validation data"),
    warned("empty in a folder", "an empty file in the folder", folder_of(TEN_FILE, write("", "more.jsonl")), 10,
           "more.jsonl (empty)"),
]  # fmt: skip
