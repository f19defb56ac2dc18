"""How much of what training moved is still there once the weights are written in fewer bits. Imported only where training runs.

The share is the projection of the written update on the trained one, Σ (cast(T) − cast(S))·(T − S) / Σ (T − S)², with S the
weights training started from and T those it ended at: 1 where all of it is written, 0 where rounding took it all. Weights one
by one may round up or down; their sum over a model says how far the written model went the trained one's way. Rounding by
chance (sft/training/rounding.py) has a share near 1 and adds noise, which the share does not see.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# ruff: noqa: TID253 - this module is imported only where training runs
import torch
from torch import Tensor

from ratoon.sft.models.base_models import weight_files
from ratoon.sft.training.rounding import Cast


def update_kept(trained: Mapping[str, Tensor], start: Path, cast: Cast) -> float | None:
    """The share of the update from the weights in folder `start` to `trained` that `cast` keeps.

    None where nothing moved, or no tensor of the folder has a name of the model's. Reads one tensor at a time.
    """
    from safetensors import safe_open

    kept = moved = 0.0
    for path in weight_files(start):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
                if name not in trained:
                    continue
                began, ended = file.get_tensor(name).float(), trained[name].detach().float().cpu()
                step = ended - began
                written = cast(name, ended).float() - cast(name, began).float()
                kept += float((written * step).sum(dtype=torch.float64))
                moved += float((step * step).sum(dtype=torch.float64))
    return kept / moved if moved else None
