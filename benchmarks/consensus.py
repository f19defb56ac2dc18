"""Votes: decisions kept and rollouts saved by stopping early, and the pace of a million votes.

    python benchmarks/consensus.py [--tasks 10000] [--rollouts 1000000] [--seed 0]

The planted mix: 40 % of tasks answer right with p = .9 (ten wrong answers share the rest), 30 % with p = .5 beside three
rivals, 30 % say one of ten answers, all alike; n = 32, replies seen one at a time. Bars: curtailment decides exactly as all 32
would; the anytime test stops on an answer that is not the mode in at most alpha = 5 % of tasks (any stop on a uniform task is
wrong). A million replies, one in eight of them not ending in a plain number, are read and voted on in under 30 s.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import schema
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.metrics.voting.consensus import ConsensusConfig, consensus, decided
from ratoon.metrics.voting.extracted_answers import readings
from ratoon.metrics.voting.plurality import plurality
from ratoon.metrics.voting.sequential_test import curtail, mode_at

N = 32
_MIX = ((0.4, [0.9] + [0.01] * 10), (0.3, [0.5] + [1 / 6] * 3), (0.3, [0.1] * 10))


class Stops(NamedTuple):
    """Per task: replies used until it stopped, the label then (-1: none), and whether the anytime test took a leader."""

    used: np.ndarray
    label: np.ndarray
    taken: np.ndarray


def planted(tasks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers (tasks, 32) and the mode of each task: 0, or -1 where no answer is the mode."""
    random = np.random.default_rng(seed)
    kind = random.choice(len(_MIX), tasks, p=[share for share, _ in _MIX])
    answers = np.zeros((tasks, N), np.int64)
    for i, (_, shares) in enumerate(_MIX):
        mine = np.flatnonzero(kind == i)
        answers[mine] = random.choice(len(shares), (len(mine), N), p=np.array(shares) / sum(shares))
    return answers, np.where(kind == 2, -1, 0)


def fixed(answers: np.ndarray, config: ConsensusConfig) -> np.ndarray:
    """The label of each task by all replies; -1 where none is accepted."""
    votes = _votes(answers)
    return np.where(decided(votes, config) == 0, votes.winner, -1)


def curtailed(answers: np.ndarray, config: ConsensusConfig) -> Stops:
    """Reply by reply, until the rest cannot change the decision."""
    tasks = len(answers)
    used, label, going = np.full(tasks, N), np.full(tasks, -1), np.arange(tasks)
    for n in range(1, N + 1):
        votes = _votes(answers[going, :n])
        certain = curtail(votes, np.full(len(going), N - n), config)
        label[going[certain.accept]] = votes.winner[certain.accept]
        used[going[~certain.undecided]] = n
        going = going[certain.undecided]
    return Stops(used, label, np.zeros(tasks, bool))


def anytime(answers: np.ndarray, config: ConsensusConfig) -> Stops:
    """Reply by reply, until curtailment is certain or the leader is the mode at level alpha."""
    found = curtailed(answers, config)
    used, label, taken = found.used.copy(), found.label.copy(), np.zeros(len(answers), bool)
    for i, said in enumerate(answers.tolist()):
        for n in range(1, int(used[i])):
            mode = mode_at(said[:n], config.alpha)
            if mode is not None:
                used[i], label[i], taken[i] = n, mode, True
                break
    return Stops(used, label, taken)


def _votes(answers: np.ndarray):
    tasks, n = answers.shape
    return plurality(np.repeat(np.arange(tasks), n), answers.ravel(), np.ones(tasks * n, bool), tasks)


def stopping(tasks: int, seed: int) -> dict[str, float]:
    """Both rules on the planted mix: what changed, what was wrong, what was saved."""
    config = ConsensusConfig()
    answers, mode = planted(tasks, seed)
    whole, cut, any_ = fixed(answers, config), curtailed(answers, config), anytime(answers, config)
    return {
        "accepted": float((whole >= 0).mean()),
        "curtailment_changed": int((whole != cut.label).sum()),
        "curtailment_saved": 1 - float(cut.used.mean()) / N,
        "anytime_taken": float(any_.taken.mean()),
        "anytime_wrong": float((any_.taken & (any_.label != mode)).mean()),
        "anytime_saved": 1 - float(any_.used.mean()) / N,
    }


def replies(rollouts: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """Rollouts of 8 a task, each with a text of its own, and their assignments."""
    random = np.random.default_rng(seed)
    tasks = -(-rollouts // 8)
    task = np.repeat(np.arange(tasks), 8)[:rollouts]
    answer = (task * 7) % 900 + np.where(random.uniform(size=rollouts) < 0.7, 0, random.integers(1, 9, rollouts))
    styles = random.integers(0, 8, rollouts)
    endings = ("The answer is {}.", "so it must be {}", "which makes {}.", "= {}", "Answer: {}", "It is {}!", "{}",
               r"\boxed{{{}}}")  # fmt: skip
    texts = [f"Step {i}: first I take {a + 3}, then 3 less.\n" + endings[s].format(a)
             for i, (a, s) in enumerate(zip(answer.tolist(), styles.tolist(), strict=True))]  # fmt: skip
    names = pa.array([f"g{t}" for t in range(tasks)])
    groups = names.take(pa.array(task))
    columns = {"rollout_id": pa.array([f"r{i:07d}" for i in range(rollouts)]), "group_id": groups, "prompt_id": groups,
               "sampling_id": pa.repeat("s", rollouts), "iteration": pa.repeat(pa.scalar(1, pa.int32()), rollouts),
               "text": pa.array(texts), "finish_reason": pa.repeat("stop", rollouts)}  # fmt: skip
    plan = {"iteration": [1] * tasks, "prompt_id": names, "sampling_id": ["s"] * tasks, "n_planned": [8] * tasks}
    return schema.from_columns("rollouts", columns, rollouts), schema.from_columns("assignments", plan, tasks)


def pace(rollouts: int, seed: int) -> dict[str, float]:
    """Seconds to read and to vote, shard by shard as the flow reads, with two workers; peak memory before and after."""
    rows, plan = replies(rollouts, seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with VerifierPool(2) as pool:
        readings(rows.slice(0, 100), "numeric", {}, pool)  # workers are started once a run
        start, cpu = time.perf_counter(), time.process_time()
        shards = [readings(rows.slice(at, 50_000), "numeric", {}, pool) for at in range(0, rollouts, 50_000)]
        read = time.perf_counter() - start
        made = consensus(rows.drop_columns(["text"]), pa.concat_tables(shards), plan, ConsensusConfig(n_min=4))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    assert pc.sum(made.groups["n"]).as_py() == rollouts == made.scores.num_rows
    accepted = pc.sum(pc.equal(made.groups["vote_status"], "accepted")).as_py()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"read_s": read, "vote_s": seconds - read, "seconds": seconds, "own_cpu_s": cpu, "before_mb": before,
            "peak_mb": after, "accepted": accepted / made.groups.num_rows}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rollouts", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = stopping(options.tasks, options.seed)
    print(f"{options.tasks} tasks, n = {N}: {found['accepted']:.3f} accepted")
    print(f"curtailment: {found['curtailment_changed']} decisions changed, {found['curtailment_saved']:.1%} of rollouts saved")
    print(f"anytime: {found['anytime_taken']:.1%} taken early, {found['anytime_wrong']:.2%} wrongly, "
          f"{found['anytime_saved']:.1%} of rollouts saved")  # fmt: skip
    timed = pace(options.rollouts, options.seed)
    print(f"{options.rollouts} rollouts: read in {timed['read_s']:.1f} s, voted in {timed['vote_s']:.1f} s, together "
          f"{timed['seconds']:.1f} s ({timed['own_cpu_s']:.1f} s of own CPU); peak memory {timed['peak_mb']:.0f} MB, "
          f"{timed['before_mb']:.0f} MB of it making the rollouts")  # fmt: skip


if __name__ == "__main__":
    main()
