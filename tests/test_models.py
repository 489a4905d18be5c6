"""What a model's name means here: a folder, a hub id, one that comes along or can be fetched, or one clear sentence."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from trainer import models
from trainer.models import ModelError, ModelInfo, NotFetched, look_up, suggested


def safetensors(file: Path, **shapes: list[int]) -> None:
    """A file with a header as safetensors has it, and no weights behind it."""
    header = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "my-model"
    path.mkdir()
    (path / "config.json").write_text("{}", "utf-8")
    return path


def refused(model: str) -> str:
    with pytest.raises(ModelError) as caught:
        look_up(model)
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    return said


def test_a_folder_is_counted_from_its_header(folder: Path) -> None:
    safetensors(folder / "model.safetensors", embed=[100, 8], bias=[8], scale=[])
    assert look_up(str(folder)) == ModelInfo(str(folder), "folder", str(folder), 809)


def test_shards_are_added_up(folder: Path) -> None:
    safetensors(folder / "model-00001-of-00002.safetensors", a=[10, 10])
    safetensors(folder / "model-00002-of-00002.safetensors", b=[10])
    assert look_up(str(folder)).parameters == 110


def test_the_same_weights_in_another_layout_are_not_counted_twice(folder: Path) -> None:
    safetensors(folder / "model.safetensors", a=[10, 10])
    safetensors(folder / "consolidated.safetensors", a=[10, 10])
    assert look_up(str(folder)).parameters == 100


def test_a_relative_folder_means_the_same_from_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safetensors(folder / "model.safetensors", a=[2])
    monkeypatch.chdir(folder.parent)
    assert look_up("my-model").source == str(folder)
    assert look_up("./my-model").source == str(folder)


def test_the_home_folder_may_be_written_as_a_tilde(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safetensors(folder / "model.safetensors", a=[2])
    monkeypatch.setenv("HOME", str(folder.parent))
    assert look_up("~/my-model").source == str(folder)


def test_a_folder_that_looks_like_a_hub_id_is_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safetensors(folder / "model.safetensors", a=[2])
    monkeypatch.chdir(folder.parent.parent)
    assert look_up(f"{folder.parent.name}/my-model").kind == "folder"


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 8, struct.pack("<Q", 4) + b"[[[[", b"x" * 100])
def test_a_header_that_can_not_be_read_makes_the_size_unknown(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert look_up(str(folder)).parameters is None


def test_a_folder_that_is_none_says_so(tmp_path: Path) -> None:
    said = refused(str(tmp_path))
    assert said == f"{tmp_path} is no model folder (no config.json in it): give one made by save_pretrained."


def test_a_folder_without_weights_says_what_is_missing(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"x")
    assert "no *.safetensors weights: convert" in refused(str(folder))


def test_an_adapter_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", "utf-8")
    safetensors(tmp_path / "adapter_model.safetensors", a=[2])
    assert "holds an adapter, not a model: merge it" in refused(str(tmp_path))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    assert refused(str(file)) == f"{file} is a file: give the model's folder."


@pytest.mark.parametrize(
    "name",
    ["/no/such/folder", "no-such-model", "a/b/c", "~nobody-here/model", "x" * 5000, "x/" * 3000, "Qwen/../secret",
     "owner/", "/", "own er/model", "-x/y", "https://huggingface.co/Qwen/Qwen2.5-0.5B"],
    ids=lambda name: name[:20],
)  # fmt: skip
def test_what_is_neither_folder_nor_hub_id_is_one_sentence(name: str) -> None:
    refused(name)


def test_no_model_at_all_names_what_would_do() -> None:
    assert "builtin:tiny, smollm2, a model folder or a Hugging Face id" in refused("")


@pytest.mark.parametrize(
    "name", ["builtin:", "builtin:huge", "builtin:../tiny", "builtin:/etc", "builtin:" + "x" * 5000]
)
def test_a_built_in_that_is_none_names_those_there_are(name: str) -> None:
    assert refused(name).endswith("; there is builtin:tiny.")


def test_the_built_in_model_says_that_it_is_a_toy() -> None:
    info = look_up("builtin:tiny")
    assert info.kind == "builtin"
    assert "toy" in info.note
    assert info.parameters
    assert 500_000 < info.parameters < 5_000_000


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 500_000_000), ("HuggingFaceTB/SmolLM2-135M-Instruct", 135_000_000),
        ("meta-llama/Llama-3.2-1B", 1_000_000_000), ("Qwen/Qwen3-30B-A3B", 30_000_000_000), ("openai/gpt2", None),
        ("a/b-4bit", None), ("a/model-7b", 7_000_000_000), ("7b/model", 7_000_000_000), ("a/Mixtral-8x7B", None),
    ],
)  # fmt: skip
def test_a_hub_ids_size_is_guessed_from_its_name(name: str, size: int | None) -> None:
    info = look_up(name)
    assert (info.kind, info.source, info.parameters, info.note) == ("hub", name, size, "to be downloaded")


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"])
def test_a_hub_model_in_the_cache_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    hub = {"HF_HOME": tmp_path / "hub", "HF_HUB_CACHE": tmp_path, "XDG_CACHE_HOME": tmp_path / "huggingface" / "hub"}
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv(variable, str(tmp_path))
    snapshot = hub[variable] / "models--Qwen--Qwen2.5-0.5B" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", "utf-8")
    safetensors(snapshot / "model.safetensors", a=[494, 1000])
    info = look_up("Qwen/Qwen2.5-0.5B")
    assert (info.parameters, info.note) == (494_000, "in the Hugging Face cache")


def test_a_fetched_model_is_taken_from_the_cache_or_can_be_fetched() -> None:
    with pytest.raises(NotFetched, match="`finetunegem fetch smollm2`"):
        look_up("smollm2")
    cache = models.cache_dir("smollm2")
    cache.mkdir(parents=True)
    (cache / "config.json").write_text("{}", "utf-8")
    safetensors(cache / "model.safetensors", a=[3])
    info = look_up("smollm2")
    assert (info.kind, info.source, info.parameters) == ("fetched", str(cache), 3)


@pytest.mark.parametrize(
    ("size", "method", "expected"),
    [
        (2_000_000, None, ("full", 1e-3)),
        (135_000_000, None, ("lora", 1e-3)),
        (500_000_000, None, ("lora", 1e-3)),
        (7_000_000_000, None, ("lora", 3e-4)),
        (70_000_000_000, None, ("lora", 1e-4)),
        (None, None, ("lora", 3e-4)),
        (500_000_000, "full", ("full", 3e-5)),
        (2_000_000, "lora", ("lora", 3e-3)),
    ],
)
def test_settings_suit_a_models_size(size: int | None, method: str | None, expected: tuple[str, float]) -> None:
    chosen = suggested(ModelInfo("m", "hub", "m", size), method)
    assert (chosen["method"], chosen["learning_rate"]) == expected
