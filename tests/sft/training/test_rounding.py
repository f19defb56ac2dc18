"""Weights in 16 bits: nearest, or by chance with the right mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ratoon.errors import TrainError
from ratoon.sft.models import policy
from ratoon.sft.training import launch
from ratoon.sft.training.job import Job

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(("dtype", "at"), [("bfloat16", 3e-3), ("float16", 3e-4)])
@pytest.mark.parametrize("sign", [1, -1])
def test_chance_rounds_to_a_neighbour_and_its_mean_is_the_weight(dtype: str, at: float, sign: int) -> None:
    from ratoon.sft.training.rounding import cast_to

    kind = getattr(torch, dtype)
    spacing = torch.finfo(kind).eps  # between 1 and 2
    values = torch.full((40_000,), sign * (1 + at))
    nearest, chance = cast_to(kind)("w", values), cast_to(kind, "stochastic")("w", values)
    assert nearest.unique().numel() == 1
    assert set(chance.float().abs().tolist()) == {1.0, 1.0 + spacing}
    assert float(chance.float().mean()) == pytest.approx(sign * (1 + at), abs=spacing * 0.01), "four standard errors"


def test_a_weight_is_rounded_alike_each_time_and_what_the_type_holds_stays() -> None:
    from ratoon.sft.training.rounding import cast_to

    cast = cast_to(torch.bfloat16, "stochastic")
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cast("w", values), cast("w", values))
    assert not torch.equal(cast("w", values), cast("v", values))
    held = values.bfloat16()
    assert torch.equal(cast("w", held.float()), held)
    few = torch.where(torch.arange(1000) < 500, values, values + 1e-5)
    assert torch.equal(cast("w", few)[:500], cast("w", values)[:500]), "what did not move is written as it was"


def test_a_weight_beyond_float16_is_refused_by_name() -> None:
    from ratoon.sft.training.rounding import cast_to

    with pytest.raises(TrainError, match=r"a weight of layer\.w is 70000, and float16 holds no more than 65504"):
        cast_to(torch.float16)("layer.w", torch.tensor([1.0, 7e4]))


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
@pytest.mark.parametrize(("dtype", "rounding"), [("float16", "nearest"), ("bfloat16", "stochastic")])
def test_a_policy_is_written_in_the_type_that_is_asked_for(
    make_job: Callable[..., Job], tiny: Path, dtype: str, rounding: str
) -> None:
    from safetensors.torch import load_file

    done = launch.train(make_job(epochs=1, start="last", save_dtype=dtype, save_rounding=rounding))
    written, master = (load_file(f / "model.safetensors") for f in (done.folder, done.folder / "master"))
    assert {str(tensor.dtype) for tensor in written.values()} == {f"torch.{dtype}"}
    assert policy.stored_dtype(done.folder) == dtype
    assert written.keys() == master.keys() == load_file(tiny / "model.safetensors").keys()
    spacing = torch.finfo(getattr(torch, dtype)).eps * (0.51 if rounding == "nearest" else 1.01)
    assert all(bool(((written[n].float() - master[n]).abs() <= spacing * master[n].abs() + 1e-7).all()) for n in master)
    assert done.manifest.update_kept == pytest.approx(1, abs=0.05)
