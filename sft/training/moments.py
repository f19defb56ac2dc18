"""Adam's moments beside a policy, for a next round that goes on from both: `moments/` of its folder, 8 bytes a weight.

Of each trained weight its running mean of gradients and of their squares, by the weight's name, and how many steps they run
over, on which Adam's correction of the first steps depends. Imported only where training runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

# ruff: noqa: TID253 - this module is imported only where training runs
import torch
from torch import nn

from ratoon.errors import ModelError

FILE = "moments.safetensors"
_KEPT = ("step", "exp_avg", "exp_avg_sq")


def save(optimizer: Any, model: nn.Module, folder: Path) -> None:
    """Write what AdamW `optimizer` knows of the weights of `model` into the new folder `folder`."""
    from safetensors.torch import save_file

    names = {parameter: name for name, parameter in model.named_parameters()}
    tensors: dict[str, torch.Tensor] = {}
    for parameter, state in _states(optimizer):
        tensors |= {f"{part}.{names[parameter]}": torch.as_tensor(state[part]).cpu().contiguous() for part in _KEPT}
    folder.mkdir()
    save_file(tensors, folder / FILE)


def _states(optimizer: Any) -> Iterator[tuple[nn.Parameter, dict[str, Any]]]:
    for group in optimizer.param_groups:
        yield from ((p, optimizer.state[p]) for p in group["params"] if optimizer.state.get(p))


def restore(optimizer: Any, model: nn.Module, folder: Path) -> None:
    """Give a new AdamW `optimizer` of `model` the moments in `folder`. Raises ModelError where they are of another model."""
    from safetensors import safe_open

    with safe_open(folder / FILE, framework="pt") as file:
        stored = {name.partition(".")[2] for name in file.keys()}  # noqa: SIM118 - a safetensors file is no mapping
        for name, parameter in model.named_parameters():
            if name not in stored or not parameter.requires_grad:
                continue
            state = {part: file.get_tensor(f"{part}.{name}") for part in _KEPT}
            if state["exp_avg"].shape != parameter.shape:
                raise _other(folder, f"{name} has {tuple(state['exp_avg'].shape)} there, not {tuple(parameter.shape)}")
            optimizer.state[parameter] = {
                "step": state["step"].float().to(parameter.device),
                "exp_avg": state["exp_avg"].to(parameter),
                "exp_avg_sq": state["exp_avg_sq"].to(parameter),
            }
            stored.discard(name)
    if stored:
        raise _other(folder, f"the model has no {min(stored)}")


def _other(folder: Path, reason: str) -> ModelError:
    return ModelError(f"the moments in {folder} are of another model: {reason}", f"remove {folder}: Adam then starts anew")
