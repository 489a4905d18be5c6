"""The cache: entries are there whole or not at all, the longest unused go first, and never one that is held."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from trainer import cache as caches
from trainer.cache import Cache, Cleared, Held

HOLD = """
import sys
from pathlib import Path
from trainer.cache import Cache
held = Cache(Path(sys.argv[1])).find(sys.argv[2])
print("held" if held else "nothing", flush=True)
sys.stdin.read()
"""


def made(cache: Cache, key: str, size: int = 100, used: float = 0.0) -> Held:
    """A new entry of that many bytes, last used `used` seconds ago."""
    with cache.make(key) as new:
        (new.path / "data").write_bytes(b"x" * size)
    then = time.time() - used
    os.utime(new.held.path / "lock", (then, then))
    return new.held


def keys(cache: Cache) -> list[str]:
    return sorted(path.name for path in cache.folder.iterdir())


def test_what_was_made_is_found_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "tokens")
    assert cache.find("a") is None
    made(cache, "a")
    held = cache.find("a")
    assert held is not None
    assert (held.path / "data").read_bytes() == b"x" * 100
    assert cache.find("b") is None


def test_an_entry_is_not_there_before_it_is_whole_nor_after_it_failed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fails() -> None:
        with cache.make("a") as new:
            (new.path / "data").write_text("half")
            assert cache.find("a") is None
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert cache.find("a") is None
    assert keys(cache) == []


def test_the_longest_unused_go_first_down_to_the_bound(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=250)
    for key, used in (("a", 300), ("b", 400), ("c", 200)):
        made(cache, key, used=used).release()
    cache.prune()
    assert keys(cache) == ["a", "c"]
    assert cache.find("a") is not None  # now the newest used
    made(cache, "d").release()
    assert keys(cache) == ["a", "d"]


def test_what_is_held_stays_whatever_the_bound(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=0)
    first = made(cache, "a")
    second = made(cache, "b")
    assert keys(cache) == ["a", "b"]
    assert cache.clear() == Cleared(0, 0, 2)
    first.release()
    assert cache.clear() == Cleared(1, 100, 1)
    del second  # what nobody refers to is held by nobody
    cache.prune()
    assert keys(cache) == []


def test_another_process_holds_as_well(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=0)
    made(cache, "a").release()
    command = [sys.executable, "-c", HOLD, str(tmp_path), "a"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        cache.prune()
        assert keys(cache) == ["a"]
        process.kill()
        process.wait()
    cache.prune()
    assert keys(cache) == []


def test_of_two_that_make_the_same_the_first_stays_and_both_can_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.make("a") as slow:
        (slow.path / "data").write_text("slow")
        made(cache, "a")
    assert slow.held.path == tmp_path / "a"
    assert (slow.held.path / "data").read_bytes() == b"x" * 100
    assert keys(cache) == ["a"]
    assert Cache(tmp_path, limit=0).clear().in_use == 1


def test_one_that_is_being_made_is_not_cleared(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=0)
    with cache.make("a") as new:
        assert cache.clear().in_use == 1
        cache.prune()
        (new.path / "data").touch()
    assert keys(cache) == ["a"]


def test_what_a_killed_process_left_half_made_goes(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    half, begun = tmp_path / ".new-a-1", tmp_path / ".new-b-2"
    half.mkdir()
    (half / "lock").touch()
    begun.mkdir()  # so new that its maker may still be about to lock it
    cache.prune()
    assert keys(cache) == [".new-b-2"]
    os.utime(begun, (0, 0))
    cache.prune()
    assert keys(cache) == []


def test_a_damaged_entry_is_dropped_though_another_reads_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = made(cache, "a")
    data = (first.path / "data").open("rb")
    second = cache.find("a")
    assert second is not None
    cache.drop(second)
    assert cache.find("a") is None
    with data:
        assert len(data.read()) == 100


@pytest.mark.parametrize(("free", "kept"), [(10**15, 3), (10_000, 3), (1000, 1), (0, 0)])
def test_the_bound_is_a_tenth_of_the_disk_or_twenty_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, kept: int
) -> None:
    cache = Cache(tmp_path)
    for key in "abc":
        made(cache, key).release()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert cache._most(300) == min(20_000_000_000, (free + 300) // 10)
    cache.prune()
    assert len(keys(cache)) == kept


def test_it_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINETUNEGEM_CACHE", raising=False)
    assert caches.root().name == "finetunegem"
    monkeypatch.setenv("FINETUNEGEM_CACHE", str(tmp_path))
    assert Cache().folder == tmp_path / "tokens"


def test_a_cache_that_was_never_used_is_empty(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "nowhere")
    assert cache.find("a") is None
    assert cache.clear() == Cleared(0, 0, 0)
