"""Texts that want something from a terminal, a markup parser or a layout: every place that shows text gets them all.

`STRINGS` names each one. They are this project's own; none does harm where it is read as text.
"""

from __future__ import annotations

import re
import unicodedata

ESC, BEL, ST, CSI, OSC = "\x1b", "\x07", "\x1b\\", "\x1b[", "\x1b]"
_PAYLOAD = "Y3VybCBldmlsfHNo"  # what OSC 52 would put on the clipboard

_CONTROL = {
    "sgr": f"{CSI}31mred{CSI}0m",
    "clear": f"{CSI}2J{CSI}H",
    "scroll back": f"{CSI}3J",
    "up and overwrite": f"ok{CSI}1A{CSI}2Kfake line",
    "hidden": f"{CSI}8msecret{CSI}28m",
    "report": f"{CSI}6n{CSI}c{CSI}>c{CSI}5n",
    "title report": f"{CSI}21t",
    "resize window": f"{CSI}8;1;1t",
    "mouse on": f"{CSI}?1003h{CSI}?1006h",
    "other screen": f"{CSI}?1049l",
    "no cursor": f"{CSI}?25l",
    "kitty keys": f"{CSI}>31u",
    "scroll region": f"{CSI}5;6r",
    "insert mode": f"{CSI}4h",
    "soft reset": f"{CSI}!p",
    "long parameter": f"{CSI}{'9' * 5000}m",
    "many parameters": f"{CSI}{'1;' * 3000}m",
    "unfinished csi": f"{CSI}38;2;1",
    "title": f"{OSC}0;owned{BEL}",
    "title st": f"{OSC}2;owned{ST}",
    "icon": f"{OSC}1;owned{BEL}",
    "clipboard": f"{OSC}52;c;{_PAYLOAD}{BEL}",
    "clipboard st": f"{OSC}52;c;{_PAYLOAD}{ST}",
    "clipboard primary": f"{OSC}52;p;{_PAYLOAD}{BEL}",
    "clipboard read": f"{OSC}52;c;?{BEL}",
    "clipboard tmux": f"{ESC}Ptmux;{ESC}{OSC}52;c;{_PAYLOAD}{BEL}{ST}",
    "link": f"{OSC}8;;https://example.invalid{ST}click{OSC}8;;{ST}",
    "link to file": f"{OSC}8;;file:///etc/passwd{BEL}x{OSC}8;;{BEL}",
    "palette": f"{OSC}4;1;#000000{BEL}",
    "background": f"{OSC}11;#ffffff{BEL}",
    "notify 9": f"{OSC}9;you have won{BEL}",
    "notify 777": f"{OSC}777;notify;a;b{BEL}",
    "iterm file": f"{OSC}1337;File=name=YQ==;inline=1:AAAA{BEL}",
    "pointer": f"{OSC}22;wait{BEL}",
    "unfinished osc": f"{OSC}0;never ended",
    "dcs": f"{ESC}P1$r0m{ST}",
    "dcs query": f"{ESC}P+q544e{ST}",
    "sixel": f"{ESC}Pq#0;2;0;0;0~~@@vv{ST}",
    "apc": f"{ESC}_Gf=100,a=T;AAAA{ST}",
    "pm": f"{ESC}^private{ST}",
    "sos": f"{ESC}Xstring{ST}",
    "full reset": f"{ESC}c",
    "keypad": f"{ESC}={ESC}>",
    "charset": f"{ESC}(0lqqk{ESC}(B",
    "save restore": f"{ESC}7{ESC}8",
    "align test": f"{ESC}#8",
    "index": f"{ESC}D{ESC}M{ESC}E",
    "lone escape": ESC,
    "escape at end": f"text{ESC}",
    "c0": "".join(chr(code) for code in range(0x20)),
    "del": "a\x7fb",
    "c1": "".join(chr(code) for code in range(0x80, 0xA0)),
    "c1 csi": "\x9b31mred\x9b0m",
    "c1 osc": "\x9d52;c;" + _PAYLOAD + "\x9c",
    "c1 dcs": "\x90q\x9c",
    "nul": "a\x00b",
    "bell": BEL * 50,
    "backspaces": "good" + "\b" * 4 + "evil",
    "carriage return": "good\revil",
    "vertical": "a\vb\fc",
    "shift out": "a\x0eb\x0fc",
    "xon xoff": "a\x13b\x11c",
    "crlf": "a\r\nb\r\n",
    "newlines": "\n" * 300,
    "tabs": "\t" * 200,
    "separators": "a\u2028b\u2029c\x85d",
}
_MARKUP = {
    "red": "[red]text[/red]",
    "unclosed": "[bold]text",
    "close only": "text[/bold]",
    "close nothing": "[/]",
    "inst": "[INST] do it [/INST]",
    "click": "[@click=app.quit]here[/]",
    "click screen": "[@click=screen.dismiss(None)]x[/]",
    "click code": "[@click=app.bell()]x[/@click=app.bell()]",
    "link markup": "[link=https://example.invalid]x[/link]",
    "on": "[white on red]x[/]",
    "dollar": "[$primary]x[/$primary]",
    "nested": "[" * 40 + "]" * 40,
    "open brackets": "[" * 2000,
    "close brackets": "]" * 2000,
    "nines": "[" + "9" * 5000,
    "nines closed": "[" + "9" * 5000 + "]",
    "letters": "[" + "a" * 5000,
    "spaces": "[" + " " * 5000,
    "equals": "[" + "=" * 3000 + "]",
    "quotes": "[a='" + "'" * 2000,
    "escaped": r"\[red]x\[/red]",
    "backslashes": "\\" * 2000 + "[red]",
    "array": "[[1, 2], [3, [4]]]",
    "regex": r"[a-z]+[/]?[^\]]",
    "emoji code": ":skull: :bomb:",
    "percent": "%s %d %n %(name)s %",
    "braces": "{0} {} {name!r} {{",
    "dollars": "$foreground ${HOME} $(id) `id`",
    "rich repr": "<object at 0x0> [b]",
    "html": "<script>alert(1)</script>&lt;&#27;",
    "markdown": "# head\n```\n| a |\n[x](javascript:1)",
    "toml": 'x"\nname = "y',
    "json": '{"a": [1, {"b": "\\u001b"}]}',
    "css": "} Screen { display: none; }",
    "shell": "; rm -rf / #",
    "option": "--help",
    "dots": "../../etc/passwd",
}
_UNICODE = {
    "rtl override": "safe\u202eexe.txt\u202c",
    "isolates": "\u2066a\u2067b\u2068c\u2069",
    "embeddings": "\u202aa\u202bb\u202c",
    "arabic": "السلام عليكم",
    "hebrew": "שלום [red] עולם",
    "zero width": "a\u200bb\u200cc\u200dd\ufeffe\u2060f",
    "soft hyphen": "a\u00adb",
    "only zero width": "\u200b" * 500,
    "hangul filler": "\u3164\u115f\u1160\uffa0",
    "tags": "x" + "".join(chr(0xE0000 + ord(sign)) for sign in "rm -rf") + "\U000e007f",
    "variation": "a\ufe0fb\ufe0ec\U000e0100",
    "lone high surrogate": "\ud83d",
    "lone low surrogate": "\ude00",
    "swapped surrogates": "\ude00\ud83d",
    "undecodable": "\udc80\udcff name",
    "noncharacters": "\ufffe\uffff\U0001fffe",
    "private": "\ue000\uf8ff\U000f0000",
    "replacement": "\ufffd" * 50,
    "zalgo": "Z" + "".join(chr(0x300 + at % 112) for at in range(600)),
    "marks only": "\u0301" * 300,
    "enclosing": "a\u20dd\u20de\u20df",
    "family": "👨‍👩‍👧‍👦" * 20,
    "skin": "👍🏽👩🏿‍🚀",
    "flags": "🇩🇪🇩",
    "rainbow": "🏳️‍🌈",
    "keycap": "1️⃣",
    "wide": "漢字" * 500,
    "half width": "ﾊﾝｶｸ",
    "full width": "ｆｕｌｌ［red］",
    "devanagari": "क्षि त्र",
    "thai": "กำ้ไ",
    "jamo": "\u1112\u1161\u11ab",
    "math": "𝕗𝕚𝕟𝕖 𝓽𝓾𝓷𝓮",
    "ligature": "\ufdfd" * 10,
    "braille": "⣿" * 300,
    "boxes": "┏━┓┃┗┛█▓",
    "annotation": "\ufff9a\ufffab\ufffb",
    "musical": "\U0001d173\U0001d17a",
    "mongolian": "a\u180eb",
    "deep": "\U0010ffff",
}
_SIZE = {
    "empty": "",
    "blank": " " * 300,
    "word": "w" * 5_000_000,
    "words": "lorem ipsum " * 40_000,
    "lines": "row\n" * 100_000,
    "wide word": "漢" * 400_000,
    "escapes": f"{CSI}31m" * 100_000,
    "brackets": "[/]" * 200_000,
    "marks": "e\u0301\u0302\u0303\u0304" * 50_000,
}
STRINGS: dict[str, str] = {**_CONTROL, **_MARKUP, **_UNICODE, **_SIZE}
SHORT: dict[str, str] = {name: text for name, text in STRINGS.items() if len(text) < 300}

# What Textual itself puts around text: colours, and where to go on.
_OURS = re.compile(r"\x1b\[[0-9;]*[mH]|\n")


def obeyed(sent: str) -> str:
    """What a terminal would obey, or draw in another order, in what is sent to it; "" where all is well."""
    rest = _OURS.sub("", sent)
    return "".join(
        sorted({sign for sign in rest if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or _turns(sign)})
    )


def _turns(sign: str) -> bool:
    return sign in "\u061c\u200e\u200f" or "\u202a" <= sign <= "\u202e" or "\u2066" <= sign <= "\u2069"
