"""Groups in the shapes of trainers that learn from right and wrong replies: KTO, preferences (DPO, reward models), GRPO.

One function per format: all rows of one group of view `group` in, rows of that format out. Best and worst are by label; among
equals the surest comes first (highest mean log-prob a token, then fewest tokens, then id): what the policy would say anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ratoon.errors import DataError

Row = Mapping[str, Any]


def trl_kto(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """TRL's unpaired preference: every reply with whether it passed."""
    return [{"prompt": row["prompt"], "completion": row["completion"], "label": row["label"]} for row in rows]


def trl_pref(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """TRL's preference: the best against the worst reply; `margin` is the difference of their labels."""
    best = min((row for row in rows if row["label"]), key=_surest)
    worst = min((row for row in rows if not row["label"]), key=_surest)
    pair = {"prompt": best["prompt"], "chosen": best["completion"], "rejected": worst["completion"]}
    return [pair | {"margin": float(best["label"]) - float(worst["label"])}]


def grpo_replay(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One group a row: prompt, and ids, log-probs and reward of each reply, for a GRPO trainer that replays, not samples.

    Raises DataError where ids or log-probs are missing.
    """
    for row in rows:
        if row["token_ids"] is None or row["logprobs"] is None:
            raise DataError(
                "the dataset carries no token ids and log-probs", "sample with an engine that returns them; or take trl-kto"
            )
    first = rows[0]
    return [{
        "prompt": first["prompt"], "replay_prompt_ids": first["prompt_token_ids"], "group_id": first["group_id"],
        "replay_ids": [row["token_ids"] for row in rows], "replay_logprobs": [row["logprobs"] for row in rows],
        "replay_rewards": [float(row["label"]) for row in rows], "pass_rate": first["pass_rate"], "n": first["n"],
    }]  # fmt: skip


def _surest(row: Row) -> tuple[float, int, str]:
    """Orders by the mean log-prob of a token that the policy sampled, then by how many it sampled, then by id."""
    tokens = row["token_ids"] or ()
    mask = row["loss_mask"] or [1] * len(tokens)
    logprobs = [lp for lp, own in zip(row["logprobs"] or (), mask, strict=False) if own]
    mean = sum(logprobs) / len(logprobs) if logprobs else -float("inf")
    return -mean, sum(mask), row["rollout_id"]


GROUP_EXPORTS: dict[str, Callable[[Sequence[Row]], list[dict[str, Any]]]] = {
    "trl-kto": trl_kto, "trl-pref": trl_pref, "grpo-replay": grpo_replay,
}  # fmt: skip

_REPLAY = """\
GRPO on rollouts that are there already: `rollout_func` hands out what was sampled. Set `num_generations` to the groups'
size, and keep only groups of that size (`len(row["replay_ids"])`).

```python
import json
from itertools import cycle

from datasets import load_dataset

groups = load_dataset(FOLDER, split="train")
key = lambda prompt: json.dumps(prompt, sort_keys=True)
replies = {key(g["prompt"]): cycle(zip(g["replay_ids"], g["replay_logprobs"], g["replay_rewards"])) for g in groups}
prompt_ids = {key(g["prompt"]): g["replay_prompt_ids"] for g in groups}


def rollout_func(prompts, trainer):
    drawn = [next(replies[key(prompt)]) for prompt in prompts]
    ids, logprobs, rewards = (list(column) for column in zip(*drawn))
    asked = [prompt_ids[key(prompt)] for prompt in prompts]
    return {"prompt_ids": asked, "completion_ids": ids, "logprobs": logprobs, "reward": rewards}


def reward_func(reward, **_):
    return reward


# GRPOTrainer(model, reward_func, GRPOConfig(num_generations=…), train_dataset=groups, rollout_func=rollout_func)
```"""
GROUP_USE = {
    "trl-kto": "`KTOTrainer(train_dataset=load_dataset(FOLDER, split=\"train\"))`; balance the two kinds by "
               "`desirable_weight` and `undesirable_weight`.",
    "trl-pref": "`DPOTrainer` or `RewardTrainer` with `train_dataset=load_dataset(FOLDER, split=\"train\")`; the reward "
                "trainer uses `margin`.",
    "grpo-replay": _REPLAY,
}  # fmt: skip
