"""From rows to tensors: which examples share an optimizer step, which share a forward pass, and which positions are trained.

Labels are masked by position (prompt, padding, `loss_mask`), never by `== pad_id`: pad is often the end of turn, which must
be learned. A step's examples are drawn by hash; inside a step they are sorted by length and cut into micro-batches of at
most so many padded tokens, so that grouping by length saves padding without biasing any step towards one length.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

_PAD = 0  # any id: attention masks it and no position of it is trained


class Signal(NamedTuple):
    """What NFT knows of a rollout: right or wrong, its group's pass rate, and log-probs of its trained tokens when sampled."""

    right: bool
    pass_rate: float
    temperature: float
    old: np.ndarray


class Encoded(NamedTuple):
    """One example: all token ids, and which of them are trained on (bool, same length, never the first).

    Examples of one `group` share a step; those without one stand alone.
    """

    example_id: str
    ids: np.ndarray
    trained: np.ndarray
    weight: float
    group: str | None = None
    signal: Signal | None = None


class Step(NamedTuple):
    """One device's part of an optimizer step: example indices, and the loss tokens of the whole step over all devices."""

    indices: list[int]
    loss_tokens: int


def encode(rows: pa.Table) -> list[Encoded]:
    """The rows' token ids as stored, prompt and completion joined."""
    columns = [rows[name].to_pylist() for name in ("example_id", "prompt_token_ids", "token_ids", "loss_mask", "weight")]
    return [_encoded(*values) for values in zip(*columns, strict=True)]


def encode_groups(rows: pa.Table, old: Sequence[np.ndarray]) -> list[Encoded]:
    """`encode` with what NFT needs; `old` are the log-probs of every completion token, row by row."""
    names = ("group_id", "label", "pass_rate", "temperature", "loss_mask")
    columns = [rows[name].to_pylist() for name in names]
    found = []
    for example, values, logprobs in zip(encode(rows), zip(*columns, strict=True), old, strict=True):
        group, label, pass_rate, temperature, mask = values
        signal = Signal(bool(label), pass_rate, temperature, logprobs[np.array(mask, bool)])
        found.append(example._replace(group=group, signal=signal))
    return found


def _encoded(example_id: str, prompt: list[int], completion: list[int], mask: list[int] | None, weight: float) -> Encoded:
    trained = np.concatenate(
        [np.zeros(len(prompt), bool), np.ones(len(completion), bool) if mask is None else np.array(mask, bool)]
    )
    trained[:1] = False  # nothing predicts the first token
    return Encoded(example_id, np.array(prompt + completion, np.int64), trained, weight)


def has_loss(prompt: Sequence[int], completion: Sequence[int], mask: Sequence[int] | None) -> bool:
    """Whether any token of an example is trained on."""
    trained = [1] * len(completion) if mask is None else list(mask)
    return any(trained if prompt else trained[1:])  # nothing predicts the first token


def plan_steps(
    examples: Sequence[Encoded], *, epochs: int, batch_size: int, world: int, seed: int, steps: int | None = None
) -> list[Step]:
    """Every device's part of every step, step by step: entry `step * world + rank`.

    Each epoch is its own order by hash of seed, epoch and example_id, cut into equal steps of at most `batch_size`. Groups
    stay whole: it is they that are ordered and shared out evenly, so a step may hold a little more or less than `batch_size`.
    With `steps` an epoch has so many, as long as there are units enough, and `batch_size` does not count.
    """
    plan: list[Step] = []
    units: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        units.setdefault(example.group or example.example_id, []).append(i)
    count = min(steps or -(-len(examples) // batch_size), len(units))
    for epoch in range(epochs):
        order = sorted(units, key=lambda name: rank(seed, epoch, name))
        for names in np.array_split(np.array(order, object), count):
            step = [i for name in names for i in units[name]]
            tokens = sum(int(examples[i].trained.sum()) for i in step)
            by_length = sorted(step, key=lambda i: (-len(examples[i].ids), examples[i].example_id))
            plan.extend(Step(by_length[rank::world], tokens) for rank in range(world))
    return plan


def rank(seed: int, epoch: int | str, name: str) -> bytes:
    """What `name` is ordered by: another order for each seed and epoch."""
    return blake2b(f"{seed}\x1f{epoch}\x1f{name}".encode(), digest_size=8).digest()


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Positions in `lengths`, longest first, in groups of at most `budget` padded tokens and at least one example."""
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= budget:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def packs(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Positions in `lengths`, longest first, each in the first group that it fits: at most `budget` tokens, or one example."""
    groups: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        at = next((at for at, left in enumerate(room) if lengths[i] <= left), len(groups))
        if at == len(groups):
            groups.append([])
            room.append(budget)
        groups[at].append(i)
        room[at] -= lengths[i]
    return groups


def packed(examples: Sequence[Encoded]) -> dict[str, Any]:
    """One micro-batch as `collate` makes it, B = 1: the examples one behind the other, without padding or attention_mask.

    position_ids: [1, T], which begin at 0 with each example: by them the model's attention tells the examples apart.
    """
    import torch

    batch = {name: tensor for name, tensor in collate(examples).items() if name != "attention_mask"}
    lengths = [len(example.ids) for example in examples]
    inside = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]  # not padding
    for name in ("input_ids", "positions"):
        batch[name] = batch[name][inside][None]
    return batch | {"position_ids": torch.cat([torch.arange(length) for length in lengths])[None]}


def collate(examples: Sequence[Encoded]) -> dict[str, Any]:
    """One micro-batch, padded on the right.

    input_ids, attention_mask: [B, T]. positions: bool [B, T], true where the logits predict a trained token.
    targets, weights: [n] for the n true positions in row-major order. Where the examples have a signal, also [n]: right (bool),
    pass_rate, old, temperature (float32; absent where all are 1); and sequences: [2], how many there are and how many right.
    """
    import torch

    width = max(len(example.ids) for example in examples)
    ids, attention = np.full((len(examples), width), _PAD, np.int64), np.zeros((len(examples), width), np.int64)
    positions = np.zeros((len(examples), width), bool)
    for row, example in enumerate(examples):
        n = len(example.ids)
        ids[row, :n], attention[row, :n], positions[row, : n - 1] = example.ids, 1, example.trained[1:]
    targets = [example.ids[example.trained] for example in examples]
    weights = [np.full(len(t), example.weight, np.float32) for t, example in zip(targets, examples, strict=True)]
    arrays = {"input_ids": ids, "attention_mask": attention, "positions": positions}
    arrays |= {"targets": np.concatenate(targets), "weights": np.concatenate(weights)}
    if examples[0].signal is not None:
        arrays |= _signals(examples)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _signals(examples: Sequence[Encoded]) -> dict[str, np.ndarray]:
    signals, counts = [e.signal for e in examples if e.signal is not None], [int(e.trained.sum()) for e in examples]
    right = np.array([s.right for s in signals])
    counted = np.array([e.weight > 0 for e in examples])
    temperatures = np.array([s.temperature for s in signals], np.float32)
    return {
        "right": np.repeat(right, counts),
        "pass_rate": np.repeat(np.array([s.pass_rate for s in signals], np.float32), counts),
        **({} if (temperatures == 1).all() else {"temperature": np.repeat(temperatures, counts)}),
        "old": np.concatenate([s.old for s in signals]).astype(np.float32),
        "sequences": np.array([counted.sum(), (counted & right).sum()]),
    }
