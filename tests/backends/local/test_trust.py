"""Loading runs nothing of what comes along: no pickle, no code of a model's own. Each trap here would leave a mark."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import transformers

from trainer import models
from trainer.backends.local import trust
from trainer.backends.local.model import load_model, load_tokenizer
from trainer.backends.local.trust import nothing_unpickled
from trainer.models import TRUST_CODE, ModelError, ModelInfo
from trainer.rundir import RunError
from trainer.spec import RunSpec

ModelMaker = Callable[[str], Path]


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Exists once a trap has gone off."""
    return tmp_path / "sprung"


@pytest.fixture
def folder(make_model: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good model to plant something in."""
    monkeypatch.delenv(TRUST_CODE, raising=False)
    path = tmp_path / "model"
    shutil.copytree(make_model("llama"), path)
    return path


def plant(file: Path, mark: Path) -> None:
    """A pickle as plain as it gets; torch's own format, whose loader knows it as well."""
    file.write_bytes(pickle.dumps(Trap(mark)))


def edit(file: Path, **fields: object) -> None:
    known = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**known, **fields}), "utf-8")


def load(folder: Path, method: str = "full") -> str:
    """Load tokenizer and model as a run does; what is refused, or "" where all is well."""
    try:
        info = models.look_up(str(folder))
        load_tokenizer(info)
        load_model(info, RunSpec(model=str(folder), method=method))  # type: ignore[arg-type]
    except (ModelError, RunError) as error:
        said = str(error)
        assert said.endswith(".")
        assert "\n" not in said
        return said
    return ""


# --- pickles ---------------------------------------------------------------------------------------------------------


def test_the_trap_works(mark: Path, tmp_path: Path) -> None:
    plant(tmp_path / "x.bin", mark)
    with suppress(RuntimeError):  # that it is no file of torch's comes out too late
        torch.load(tmp_path / "x.bin", weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "training_args.bin", "model.pkl", "x.pth"])
def test_a_pickle_beside_the_weights_is_never_looked_at(folder: Path, mark: Path, name: str) -> None:
    plant(folder / name, mark)
    assert load(folder) == ""
    assert not mark.exists()


def test_weights_that_are_pickled_are_refused(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").unlink()
    plant(folder / "pytorch_model.bin", mark)
    assert "no *.safetensors weights: convert the model" in load(folder)
    assert not mark.exists()


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "../elsewhere.bin", "x.pt"])
def test_an_index_can_not_name_a_pickle(folder: Path, mark: Path, shard: str) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    plant(folder / shard, mark)
    shards = {"model.embed_tokens.weight": "model-00001-of-00002.safetensors", "lm_head.weight": shard}
    edit(folder / "model.safetensors.index.json", metadata={"total_size": 1}, weight_map=shards)
    assert load(folder) != ""
    assert not mark.exists()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_pickled_adapter_beside_a_model_is_refused(folder: Path, mark: Path, method: str) -> None:
    edit(folder / "adapter_config.json", peft_type="LORA", r=2, target_modules=["q_proj"], task_type="CAUSAL_LM",
         base_model_name_or_path=str(folder))  # fmt: skip
    plant(folder / "adapter_model.bin", mark)
    assert "holds an adapter beside the model" in load(folder, method)
    assert not mark.exists()


def test_a_pickled_adapter_is_not_loaded_either(folder: Path, mark: Path) -> None:
    info = models.look_up(str(folder))  # before the adapter came
    edit(folder / "adapter_config.json", peft_type="LORA", r=2, target_modules=["q_proj"], task_type="CAUSAL_LM",
         base_model_name_or_path=str(folder))  # fmt: skip
    plant(folder / "adapter_model.bin", mark)
    with pytest.raises(RunError, match=r"its weights can't be loaded|is a pickled file"):
        load_model(info, RunSpec(model=str(folder)))
    assert not mark.exists()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_checkpoint_with_a_pickle_in_place_of_its_weights_is_refused(
    folder: Path, mark: Path, tmp_path: Path, method: str
) -> None:
    checkpoint = tmp_path / "step-000010"
    shutil.copytree(folder, checkpoint)
    (checkpoint / "model.safetensors").unlink()
    edit(checkpoint / "adapter_config.json", peft_type="LORA", r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    plant(checkpoint / "adapter_model.bin", mark)
    plant(checkpoint / "pytorch_model.bin", mark)
    info = models.look_up(str(folder))
    with pytest.raises(RunError, match=r"can't be loaded|is a pickled file"):
        load_model(info, RunSpec(model=str(folder), method=method), checkpoint)  # type: ignore[arg-type]
    assert not mark.exists()


def test_a_safetensors_file_that_is_a_pickle_is_refused(folder: Path, mark: Path) -> None:
    plant(folder / "model.safetensors", mark)
    assert "its weights can't be loaded" in load(folder)
    assert not mark.exists()


def test_outside_of_loading_torch_is_as_it_was(folder: Path) -> None:
    before = torch.load
    with nothing_unpickled():
        assert torch.load is not before
    assert torch.load is before
    load(folder)
    assert torch.load is before


# --- code ------------------------------------------------------------------------------------------------------------

CONFIG = """
import os
os.makedirs({mark!r}, exist_ok=True)
from transformers import LlamaConfig
class OurConfig(LlamaConfig):
    model_type = "ours"
"""
MODEL = """
from transformers import LlamaForCausalLM
from .configuration_ours import OurConfig
class OurModel(LlamaForCausalLM):
    config_class = OurConfig
"""


@pytest.fixture
def own_code(folder: Path, mark: Path) -> Path:
    """A model that can't be loaded without its own code."""
    (folder / "configuration_ours.py").write_text(CONFIG.format(mark=str(mark)), "utf-8")
    (folder / "modeling_ours.py").write_text(MODEL, "utf-8")
    classes = {"AutoConfig": "configuration_ours.OurConfig", "AutoModelForCausalLM": "modeling_ours.OurModel"}
    edit(folder / "config.json", model_type="ours", auto_map=classes, architectures=["OurModel"])
    return folder


def test_a_models_own_code_is_not_run(own_code: Path, mark: Path) -> None:
    assert load(own_code) == (
        f"{own_code} needs code from its own repository, which is not run unless asked: choose another, or read that "
        "code and start with `finetunegem run --trust-remote-code`."
    )
    assert not mark.exists()


@pytest.mark.parametrize("value", ["0", "true", ""])
def test_only_a_one_asks_for_it(own_code: Path, mark: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(TRUST_CODE, value)
    assert "which is not run unless asked" in load(own_code)
    assert not mark.exists()


def test_with_the_flag_it_is_run_and_said(
    own_code: Path, mark: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setenv(TRUST_CODE, "1")
    info = models.look_up(str(own_code))
    _, note = load_tokenizer(info)
    assert note == f"Code that comes with {own_code} may run here, as --trust-remote-code asked."
    loaded = load_model(info, RunSpec(model=str(own_code)))
    assert type(loaded.model).__name__ == "OurModel"
    assert mark.exists()


def test_code_of_a_known_kind_of_model_is_left_alone(folder: Path, mark: Path) -> None:
    (folder / "modeling_ours.py").write_text(f"import os; os.mkdir({str(mark)!r})", "utf-8")
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_ours.OurModel"})
    assert load(folder) == ""
    assert not mark.exists()


def test_a_tokenizers_own_code_is_not_run(folder: Path, mark: Path) -> None:
    (folder / "tokenization_ours.py").write_text(f"import os; os.mkdir({str(mark)!r})", "utf-8")
    edit(folder / "tokenizer_config.json", tokenizer_class="OurTokenizer",
         auto_map={"AutoTokenizer": ["tokenization_ours.OurTokenizer", None]})  # fmt: skip
    load(folder)
    assert not mark.exists()


def test_code_for_generating_is_not_run(folder: Path, mark: Path) -> None:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(f"import os; os.mkdir({str(mark)!r})", "utf-8")
    load(folder)
    assert not mark.exists()


def test_a_template_is_rendered_in_a_sandbox(folder: Path, mark: Path) -> None:
    trap = "{{ cycler.__init__.__globals__.os.mkdir('%s') }}" % mark  # noqa: UP031 - braces are the template's
    edit(folder / "tokenizer_config.json", chat_template=trap)
    (folder / "chat_template.jinja").write_text(trap, "utf-8")
    tokenizer, _ = load_tokenizer(models.look_up(str(folder)))
    with pytest.raises(Exception, match=r"unsafe|undefined|security"):
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert not mark.exists()


# --- versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("library", "version"), [("torch", "2.9.1+cpu"), ("transformers", "5.2.0")])
def test_a_library_with_a_known_hole_loads_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, library: str, version: str
) -> None:
    monkeypatch.setattr(getattr(trust, library), "__version__", version)
    assert f" {version} is not used here: before " in load(folder)


def test_an_error_that_quotes_a_key_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "hf_" + "Ab1" * 12

    def refused(*_: object, **__: object) -> None:
        raise OSError(f"401 Client Error: Unauthorized for url, {'x' * 160} token={key} is invalid")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refused)
    with pytest.raises(RunError) as caught:
        load_tokenizer(ModelInfo("a/b", "hub", "a/b", None))
    assert key[:12] not in str(caught.value)
    assert "HF_TOKEN for a gated model" in str(caught.value)
