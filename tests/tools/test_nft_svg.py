"""The picture of NFT's pushes shows the loss's own gradient, and is the one that is committed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ratoon.sft.training.nft import PromptWeight, nft_loss

torch = pytest.importorskip("torch")
SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "nft_svg.py"


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nft_svg", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("weight", ["one", "linear", "sqrt"])
@pytest.mark.parametrize("clip", [1.0, 0.1])
@pytest.mark.parametrize("right", [True, False])
def test_the_curves_are_the_gradient_of_the_loss(picture: ModuleType, weight: PromptWeight, clip: float, right: bool) -> None:
    for rate in (0.1, 0.5, 0.9):
        for ratio in (0.2, 1.0, 1.4, 2.4):
            new = torch.tensor([[ratio]], dtype=torch.float64).log().requires_grad_()
            one, group = torch.ones(1, 1, dtype=torch.float64), torch.tensor([rate], dtype=torch.float64)
            loss = nft_loss(
                new, torch.zeros_like(new), one, torch.tensor([right]), group, prompt_weight=weight, negative_clip=clip
            )
            (slope,) = torch.autograd.grad(loss, new)
            assert -slope.item() == pytest.approx(picture.push(ratio, right, rate, weight, clip), rel=1e-9)


def test_the_committed_picture_is_what_the_script_draws() -> None:
    assert subprocess.run([sys.executable, str(SCRIPT), "--check"], check=False).returncode == 0
