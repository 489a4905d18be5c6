"""Encodings, marks, line ends and NUL bytes."""

from __future__ import annotations

import json

from tests.data.cases.making import LINE, MANY, MIDDLE, TEN, Case, accepted, among, good, refused, skipped, write

CASES = [
    accepted("bom", "a byte order mark in front", b"\xef\xbb\xbf" + TEN.encode(), 10),
    accepted("bom crlf", "a byte order mark and CRLF", b"\xef\xbb\xbf" + TEN.replace("\n", "\r\n").encode(), 10),
    accepted("bom within", "a byte order mark in the midst, as of joined files", among("\ufeff" + LINE.strip()), 151),
    accepted("crlf", "Windows line ends", TEN.replace("\n", "\r\n"), 10),
    accepted("cr alone", "line ends of the old Macintosh", TEN.replace("\n", "\r"), 10),
    accepted("blank lines", "blank lines between the rows", TEN.replace("\n", "\n\n  \n"), 10),
    accepted("no last line end", "the last line has no end", TEN.rstrip(), 10),
    accepted("line separators", "U+2028 and U+0085 within a text, which end no line",
             json.dumps({"prompt": "a\u2028b\u0085c", "completion": "d"}, ensure_ascii=False) + "\n" + LINE, 2),
    refused("utf-16", "UTF-16 with its mark", TEN.encode("utf-16"), "UTF-16", "save the file as UTF-8", line=1),
    refused("utf-16 big", "UTF-16, big end first", b"\xfe\xff" + TEN.encode("utf-16-be"), "UTF-16", line=1),
    refused("utf-16 bare", "UTF-16 without a mark", TEN.encode("utf-16-le"), "UTF-16", line=1),
    refused("utf-16 bare big", "the same, big end first", TEN.encode("utf-16-be"), "UTF-16", line=1),
    refused("utf-32", "UTF-32", TEN.encode("utf-32"), "UTF-32", line=1),
    refused("utf-16 csv", "what Excel calls Unicode text", "prompt\tcompletion\na\tb\n".encode("utf-16"), "UTF-16",
            line=1, file="data.txt"),
    refused("latin-1", "Latin-1", LINE.encode() + '{"prompt": "Größe", "completion": "b"}\n'.encode("latin-1"),
            "not UTF-8", "save the file as UTF-8", line=None),
    refused("latin-1 deep", "Latin-1 from line 4001 on", good(4000).encode() + '{"prompt": "ü"}\n'.encode("latin-1"),
            "not UTF-8", line=4001),
    refused("latin-1 list", "Latin-1 in a JSON list", '[\n{"prompt": "a",\n"completion": "ü"}\n]'.encode("latin-1"),
            "not UTF-8", line=3, file="data.json"),
    refused("cp1252 text", "Windows' own encoding in a text", b"one\ntwo\n\x93three\x94\n", "not UTF-8", line=3,
            file="data.txt"),
    refused("surrogate bytes", "half characters as bytes", among(b'{"prompt": "\xed\xa0\x80", "completion": "b"}'),
            "not UTF-8", line=MIDDLE),
    refused("nul", "a NUL byte in the midst", among(b'{"prompt": "a\x00", "completion": "b"}'), "NUL", line=MIDDLE),
    refused("nul tail", "NUL bytes at the end, as after a crash", TEN.encode() + b"\0" * 4096, "NUL", line=11),
    refused("nul only", "nothing but NUL bytes", b"\0" * 100_000, "NUL", line=1),
    refused("empty", "an empty file", b"", "empty"),
    refused("blank", "nothing but blank space", b" \n\t\r\n" * 9, "empty"),
    refused("only a bom", "nothing but a mark", b"\xef\xbb\xbf", "empty"),
    skipped("lone surrogate", "half a character, escaped", r'{"prompt": "\ud83d", "completion": "b"}',
            "half a character"),
    skipped("control character", "a bare tab in a string", '{"prompt": "a\tb", "completion": "b"}',
            "control character"),
    skipped("escape sequence", "a bare escape in a string", '{"prompt": "\x1b[31mred", "completion": "b"}', "control"),
    Case("torn character", "the file ends within a character", write(good().encode() + b'{"prompt": "\xc3'), "skip",
         ("breaks off",), MANY + 1, MANY, 1),
]  # fmt: skip
