"""Planted replies: right answers in many formats and surely wrong ones, for the tasks of a recipe; judges nothing.

What a verifier does with them is its false negative and false positive rate (`metrics/verifier_errors/error_rates.py`). The
formats that its own arguments ask for are planted, each family of other wordings beside them, apart: a right answer outside the
box is no false negative of a verifier that was told to read the box, and a user may want to know. A verifier of a user's own is
asked with the bare answer, other tasks' answers and silence, since nobody else knows what it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from math import gcd
from typing import Any, NamedTuple

import pyarrow as pa

from ratoon import ids
from ratoon.metrics import verifiers
from ratoon.metrics.verifiers import numbers
from ratoon.metrics.verifiers.alternatives import without
from ratoon.metrics.verifiers.formats.queries import is_query
from ratoon.metrics.verifiers.formats.wordings import SILENT, Wording, Wordings, word
from ratoon.metrics.verifiers.verdict import args_of
from ratoon.metrics.verifiers.verifier import Formats

VERSION = "planted-3"
_OTHERS = 6
_TRAP_SHARE = 5  # one trap to so many usual probes
_UNASKED_SHARE = 2  # one reply in a wording that nobody asked for to so many usual probes
_SENTENCES = ("sentence", "latex", "steps")


class Probe(NamedTuple):
    """One planted reply: to which task, whether it is right, how it was made, in which family of wordings; `asked` where the
    verifier's arguments ask for such a reply."""

    task_id: str
    verifier: str
    right: bool
    trap: bool
    asked: bool
    family: str
    format: str
    text: str
    answer: str | None
    args: dict[str, Any]


class _Task(NamedTuple):
    task_id: str
    answer: str | None
    args: dict[str, Any]
    others: tuple[str, ...]


def plant(tasks: pa.Table, n: int, seed: int) -> list[Probe]:
    """Up to `n` right and `n` wrong usual replies per verifier, half of that in wordings that nobody asked for, and a fifth in
    traps, none of them twice.

    Tasks take turns in the order of their hash, formats take turns over tasks, so that few tasks still meet every format.
    Tasks without a verifier, or whose arguments are no JSON object, are passed over.
    """
    found: list[Probe] = []
    for verifier, chosen in sorted(_by_verifier(tasks, seed).items()):
        for right in (True, False):
            found += _taken(verifier, chosen, right, False, n)
            found += _taken(verifier, chosen, right, True, -(-n // _TRAP_SHARE))
            found += _unasked(verifier, chosen, right, -(-n // _UNASKED_SHARE))
    return found


def _by_verifier(tasks: pa.Table, seed: int) -> dict[str, list[_Task]]:
    """Each verifier's tasks in hash order, each with some answers of others of its family."""
    rows = tasks.select(["task_id", "family", "answer", "verifier", "verifier_args"]).to_pylist()
    rows = sorted(rows, key=lambda row: (ids.derive_seed(seed, "planted", row["task_id"]), row["task_id"]))
    answers: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["verifier"] and row["answer"]:
            answers.setdefault((row["verifier"], row["family"] or ""), []).append(row["answer"])
    found: dict[str, list[_Task]] = {}
    for i, row in enumerate(rows):
        args = args_of(row["verifier_args"])
        if row["verifier"] is None or args is None:
            continue
        own = dict(without(args))
        pool = answers.get((row["verifier"], row["family"] or ""), [])
        others = tuple(dict.fromkeys(pool[(i + k) % len(pool)] for k in range(min(len(pool), 2 * _OTHERS))))[:_OTHERS]
        found.setdefault(row["verifier"], []).append(_Task(row["task_id"], row["answer"], own, others))
    return found


def _taken(verifier: str, tasks: Sequence[_Task], right: bool, trap: bool, n: int) -> list[Probe]:
    found: dict[tuple[str, str], Probe] = {}
    for turn in range(4 * n):
        if len(found) >= n or not tasks:
            break
        round_, at = divmod(turn, len(tasks))
        probe = _probe(verifier, tasks[at], right, trap, (at, round_, len(tasks)))
        if probe is not None:
            found.setdefault((probe.task_id, probe.text), probe)
    return list(found.values())


def _stride(tasks: int, formats: int) -> int:
    """How far a task moves on in a round: past what the other tasks said, and never so that it meets some formats only."""
    return next(step for step in count(tasks) if gcd(step, formats) == 1)


def _probe(verifier: str, task: _Task, right: bool, trap: bool, at: tuple[int, int, int]) -> Probe | None:
    """The reply that is this task's where it has its place, in a round, among so many; None where it has none of the kind."""
    gold, formats = task.answer or "", verifiers.formats(verifier, task.args)
    ways = [way for way in _wordings(formats.wordings, right, trap) if _takes(way, gold)]
    if not ways or (right and not task.answer):
        return None
    wrong = formats.wrong(gold, task.args, task.others)
    values = formats.right(gold, task.args) if right else wrong
    turn = at[0] + at[1] * _stride(at[2], len(ways) * max(1, len(values)))
    way = ways[turn % len(ways)]
    if way in SILENT:
        values = {"nothing": ""} if way.text.strip() != gold.strip() else {}
    if not values:
        return None
    name, said = list(values.items())[(turn // len(ways)) % len(values)]
    other = next(iter(wrong.values()), "0")
    text = word(way, said, gold, other, str(task.args.get("tag", "answer")))
    format = way.name if trap or way in SILENT else f"{way.name}: {name}"
    return Probe(task.task_id, verifier, right, trap, not trap, way.name, format, text, task.answer, task.args)


def _unasked(verifier: str, tasks: Sequence[_Task], right: bool, n: int) -> list[Probe]:
    """Replies in wordings that no argument asks for; the family that was met least comes next."""
    found: dict[tuple[str, str], Probe] = {}
    met = Counter[str]()
    for turn in range(4 * n):
        if len(found) >= n or not tasks:
            break
        round_, at = divmod(turn, len(tasks))
        task = tasks[at]
        formats = verifiers.formats(verifier, task.args)
        gold = task.answer or ""
        values = [gold] if right else list(formats.wrong(gold, task.args, task.others).values())
        if not gold or not values:
            continue
        ways = {
            f"{family}: {name}": (family, text) for family, name, text in _ways(formats, values[round_ % len(values)], task)
        }
        fresh = [name for name, (_, text) in ways.items() if (task.task_id, text) not in found]
        if fresh:
            name = min(fresh, key=lambda name: (met[ways[name][0]], met[name], name))
            family, text = ways[name]
            met.update((family, name))
            found[task.task_id, text] = Probe(
                task.task_id, verifier, right, False, False, family, name, text, task.answer, task.args
            )
    return list(found.values())


def _ways(formats: Formats, said: str, task: _Task) -> Iterator[tuple[str, str, str]]:
    """Family, name and text of each reply that says an answer as nobody asked; those that the setting asks for are left out."""
    tag = str(task.args.get("tag", "answer"))
    usual = formats.wordings.usual
    asked = {word(way, said, said, said, tag) for way in usual}
    for family, places in formats.places.items():
        for way in places:
            text = word(way, said, said, said, tag)
            if text not in asked and "\n" not in said.strip():
                yield family, way.name, text
    sentence = next((way for way in usual if way.name in _SENTENCES and way.takes == "any"), usual[0])
    for family, forms in formats.forms(said).items():
        for name, form in forms.items():
            yield family, name, word(sentence, form, form, form, tag)


def _takes(way: Wording, gold: str) -> bool:
    """Whether an answer like the gold can be said so: a label's answer ends with its line, a fence's with the next fence."""
    if way.takes == "number":
        return numbers.whole(gold) is not None
    if way.takes in ("unfenced", "query"):
        return "```" not in gold and "~~~" not in gold and (way.takes == "unfenced" or is_query(gold))
    return way.takes == "any" or "\n" not in gold.strip()


def _wordings(wordings: Wordings, right: bool, trap: bool) -> tuple[Wording, ...]:
    """The wordings for replies of one kind."""
    if trap:
        return wordings.right_traps if right else wordings.wrong_traps
    return wordings.usual if right else (*wordings.usual, *wordings.wrong, *SILENT)
