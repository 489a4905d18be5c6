"""Keys of the real shapes that open nothing, for tests that look for them afterwards.

They are put together here from pieces, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

from pathlib import Path

BODY = "Ca9nArY0k3yTh4tMustN0tBeS33nAnywh3re7Xq2"
PRIVATE = "\n".join(
    ["-----BEGIN " + "PRIVATE KEY-----", "MIIE" + BODY * 2, BODY + "==", "-----END " + "PRIVATE KEY-----"]
)
CANARIES = {
    "HF_TOKEN": "hf_" + BODY[:34],
    "GEMINI_API_KEY": "AIza" + "Sy" + BODY[:33],
    "GOOGLE_API_KEY": "AQ." + "Ab8" + BODY,
    "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29." + "a0AfH6" + BODY,
    "OPENAI_API_KEY": "sk-" + "proj-" + BODY,
    "ANTHROPIC_API_KEY": "sk-" + "ant-api03-" + BODY,
    "OTHER_API_KEY": "sk-" + BODY,
    "WANDB_API_KEY": "0123456789abcdef" * 2 + "01234567",  # known by its variable alone
    "SERVICE_ACCOUNT_JSON": '{"private_key": "' + PRIVATE.replace("\n", "\\n") + '"}',
}
SIGNS = (BODY[:12], BODY[12:24], CANARIES["WANDB_API_KEY"][:20])
"""Any of these, found anywhere, is a leak: every canary holds at least one."""


def leaks(data: bytes) -> list[str]:
    return [sign for sign in SIGNS if sign.encode() in data]


def leaking_files(folder: Path) -> list[str]:
    """Files below a folder that hold a sign, in their text or their name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if leaks(path.read_bytes()) or leaks(str(path).encode())]
