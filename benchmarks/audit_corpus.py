"""A made-up data set of judged replies with nothing wrong in it, and ten ways to spoil it, each alone.

Tasks are small sums told as stories; each has several replies in words of their own, some right, some wrong in ways of their
own, judged without error. Sentences are put together from parts, so that no six words stand in many rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]
Rows = list[Row]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split("|")]


_WHO = _listed("Mara|Deniz|Olu|Priya|Sven|Chen|Amara|Tomás|Ingrid|Yusuf|a baker|the librarian|the twins|a sailor|our neighbour")
_THINGS = _listed(
    "apples|tickets|violins|tulips|copper wires|planets|recipes|stamps|turbines|chess sets|microscopes|bridges|"
    "court files|poems|"
    "satellites|sheep|enzymes|coins|kites|timetables|dictionaries|honey jars|magnets|tax forms|owls|lanterns|bicycles|maps|"
    "sandwiches|telescopes|carpets|batteries|guitars|postcards|tomatoes|helmets|mirrors|ladders|puzzles|candles"
)
_WHERE = _listed(
    "at the harbour|in the desert|during the winter|before the exam|under the old roof|in the museum|by night|on the train|"
    "for the school fair|in the laboratory|near the border|after the storm|behind the theatre|at the market|in the workshop"
)
_GETS = _listed("finds|buys|is given|collects|borrows|wins|repairs|receives|digs up|orders")
_LOSES = _listed("sells|loses|gives away|breaks|eats or throws out|returns|misplaces|donates|trades|burns")
_ASKS = _listed("How many are left?|What number remains?|How many are there now?|What is the new total?|Count what remains.")
_LEAD = _listed(
    "First we note|To begin with, look at|Let us consider|The question starts from|We are told about|It helps to picture|"
    "One way to see this is through|Start by writing down|Think of|Here the starting point is|My first step is to list|Consider"
)
_MIDDLE = _listed(
    "Then {who} {gets} more, which changes the amount of {things}.|"
    "Adding and subtracting in order keeps the {things} straight.|"
    "So far the {things} have only grown, and nobody lost any {where}.|"
    "Because {who} {loses} some, the count must go down again.|"
    "A small table would show every step for the {things}.|The place, {where}, does not matter for the sum.|"
    "I keep a running total while reading about {who}.|Each {things} counts once, whatever it looks like.|"
    "Nothing else happens to the {things} {where}.|That leaves a plain subtraction for {who} to do.|"
    "Someone might forget the second part of the story about {who}.|Writing the numbers one below another avoids mistakes.|"
    "The order of the two changes makes no difference here.|Half of the work is to read what {who} really did.|"
    "We can ignore the details that are only decoration, such as {where}.|The remaining {things} are what we are asked for.|"
    "Rounding would be wrong, since {things} come in whole pieces.|In words: more came in, and then fewer stayed with {who}."
)
_CHECK = _listed(
    "Let me check this by going backwards.|Wait, I should verify the last step.|Checking again gives the same amount.|"
    "To verify, add back what went away.|Let me double-check the subtraction."
)
_END = _listed(
    "The answer is {n}.|So {n} of them remain.|That makes {n}.|In total we get {n}.|Therefore the result is {n}.|"
    "Hence {who} has {n}.|It comes to {n}.|We end with {n}.|This gives {n}.|The number is {n}."
)
_GERMAN = _listed(
    "Zuerst sehen wir, dass {who} am Anfang {a} davon hat, und dann kommen {b} dazu.|"
    "Wenn man alles zusammenzählt, ist die Summe klar.|"
    "Das ist nicht schwer, aber man muss auf die Reihenfolge achten.|Danach werden {c} wieder abgegeben, und der Rest bleibt.|"
    "Wir rechnen also Schritt für Schritt, damit kein Fehler passiert."
)
TEMPLATE = "Sure, I would be happy to help you with this problem today. "
BENCHMARK = [
    f"A {colour} train leaves {town} at {hour} o'clock and travels {km} kilometres to the next station before noon. "
    "How fast does it go?"
    for colour, town, hour, km in zip(
        _listed("red|blue|silver|yellow|green|white|black|orange|brown|grey") * 3,
        _listed("Lyon|Porto|Graz|Bergen|Split|Turku|Ghent|Brno|Cork|Basel|Malmö|Varna|Pula|Jena|Nice") * 2,
        [5, 6, 7, 8, 9] * 6, range(110, 410, 10), strict=True,
    )
]  # fmt: skip


def pool(tasks: int, replies: int, seed: int) -> list[Rows]:
    """`tasks` unlike tasks with their judged replies."""
    rng = np.random.default_rng(seed)
    found: dict[str, Rows] = {}
    while len(found) < tasks:
        story = _story(rng)
        found.setdefault(story["prompt"], _replies(story, replies, rng))
    return list(found.values())


def _pick(rng: np.random.Generator, some: Sequence[str]) -> str:
    return str(some[int(rng.integers(len(some)))])


def _story(rng: np.random.Generator) -> Row:
    who, things, where = _pick(rng, _WHO), _pick(rng, _THINGS), _pick(rng, _WHERE)
    gets, loses = _pick(rng, _GETS), _pick(rng, _LOSES)
    a, b = int(rng.integers(12, 90)), int(rng.integers(3, 40))
    c = int(rng.integers(2, a + b - 1))
    prompt = f"{who} has {a} {things} {where}, {gets} {b} more and then {loses} {c}. {_pick(rng, _ASKS)}"
    return {"who": who, "things": things, "where": where, "gets": gets, "loses": loses, "a": a, "b": b, "c": c,
            "gold": a + b - c, "prompt": prompt[0].upper() + prompt[1:]}  # fmt: skip


def _replies(story: Row, n: int, rng: np.random.Generator) -> Rows:
    skill = rng.beta(1.6, 1.0)
    rows = []
    for _ in range(n):
        answer = (
            story["gold"] if rng.random() < skill else story["gold"] + int(rng.choice([-30, 30])) + int(rng.integers(-25, 25))
        )
        rows.append(_row(story, reply(story, answer, rng), answer))
    return rows


def _row(story: Row, completion: str, answer: int) -> Row:
    return {"prompt": story["prompt"], "completion": completion, "gold": str(story["gold"]), "passed": answer == story["gold"],
            "story": story, "answer": answer}  # fmt: skip


def reply(story: Row, answer: int, rng: np.random.Generator, longer: int = 0) -> str:
    """A reply in words of its own that ends in `answer`."""
    middle = rng.permutation(len(_MIDDLE))[: int(rng.integers(2, 6)) + longer]
    parts = [f"{_pick(rng, _LEAD)} the {story['a']} {story['things']} that {story['who']} has {story['where']}."]
    parts += [_MIDDLE[i].format(**story) for i in middle]
    if rng.random() < 0.3:
        parts.append(_pick(rng, _CHECK))
    return " ".join([*parts, _pick(rng, _END).format(n=answer, who=story["who"])])


# ------------------------------------------------------------------------------------------------ faults


def _flat(tasks: list[Rows]) -> Rows:
    return [dict(row) for rows in tasks for row in rows]


def paraphrase_collapse(tasks: list[Rows], rng: np.random.Generator) -> Rows:
    """Six tasks in ten are one of five, reworded: other numbers and wordings, the same story."""
    few = [tasks[i][0]["story"] for i in rng.choice(len(tasks), 5, replace=False)]
    made = []
    for rows in tasks:
        if rng.random() < 0.6:
            story = dict(few[int(rng.integers(5))])
            a, b, c = (int(x) for x in rng.integers((12, 3, 2), (90, 40, 10)))
            story |= {"a": a, "b": b, "c": c, "gold": a + b - c}
            said = f"{story['who']} has {a} {story['things']} {story['where']}"
            prompt = f"{said}, {_pick(rng, _GETS)} {b} more, {_pick(rng, _LOSES)} {c}."
            story["prompt"] = f"{prompt} {_pick(rng, _ASKS)}"
            made.append(_replies(story, len(rows), rng))
        else:
            made.append(rows)
    return _flat(made)


def one_template(tasks: list[Rows], rng: np.random.Generator) -> Rows:
    """Half of the replies begin with one sentence."""
    rows = _flat(tasks)
    for row in rows:
        if rng.random() < 0.5:
            row["completion"] = TEMPLATE + row["completion"]
    return rows


def contamination(tasks: list[Rows], rng: np.random.Generator) -> Rows:
    """Three tasks ask an item of the evaluation set, with words around it."""
    rows = _flat(tasks)
    for i in rng.choice(len(rows), 3, replace=False):
        rows[i]["prompt"] = f"Please solve: {_pick(rng, BENCHMARK)} Think before you reply."
    return rows


def bad_verifier(tasks: list[Rows], rng: np.random.Generator) -> Rows:
    """For one task in four the gold answer is wrong by one, and the verifier follows it."""
    rows = []
    for mine in tasks:
        wrong = rng.random() < 0.25
        for row in mine:
            gold = int(row["gold"]) + int(wrong)
            rows.append(dict(row) | {"gold": str(gold), "passed": row["answer"] == gold})
    return rows


def length_drift(tasks: list[Rows], rng: np.random.Generator) -> Rows:
    """Replies are three sentences longer."""
    return [dict(row) | {"completion": reply(row["story"], row["answer"], rng, longer=3)} for row in _flat(tasks)]


def truncation(tasks: list[Rows], rng: np.random.Generator) -> Rows:
    """A limit that one reply in twelve meets; nobody says which."""
    rows = _flat(tasks)
    limit = int(np.quantile([len(row["completion"].split()) for row in rows], 11 / 12))
    for row in rows:
        row["completion"] = " ".join(row["completion"].split()[:limit])
    return rows


def mode_collapse(tasks: list[Rows], rng: np.random.Generator) -> Rows:
    """All replies to a task say the first one's words, but for the last sentence."""
    rows = []
    for mine in tasks:
        head = mine[0]["completion"].rsplit(". ", 1)[0]
        rows += [dict(row) | {"completion": f"{head}. {row['completion'].rsplit('. ', 1)[1]}"} for row in mine]
    return rows


def language_mix(tasks: list[Rows], rng: np.random.Generator) -> Rows:
    """One reply in sixteen is German."""
    rows = _flat(tasks)
    for row in rows:
        if rng.random() < 1 / 16:
            order = rng.permutation(len(_GERMAN))[:4]
            row["completion"] = " ".join(_GERMAN[i].format(**row["story"]) for i in order) + f" Es sind {row['answer']}."
    return rows


def duplicated_shard(tasks: list[Rows], rng: np.random.Generator) -> Rows:
    """A tenth of the tasks are there twice."""
    again = [tasks[i] for i in rng.choice(len(tasks), max(1, len(tasks) // 10), replace=False)]
    return _flat([*tasks, *again])


def label_flip(tasks: list[Rows], rng: np.random.Generator) -> Rows:
    """One verdict in ten is the other way round."""
    return [dict(row) | {"passed": row["passed"] != (rng.random() < 0.1)} for row in _flat(tasks)]


def nothing(tasks: list[Rows], rng: np.random.Generator) -> Rows:
    """As it is."""
    return _flat(tasks)


FAULTS: dict[str, tuple[str, Callable[[list[Rows], np.random.Generator], Rows]]] = {
    "paraphrase collapse": ("vendi_down", paraphrase_collapse), "one template": ("one_template", one_template),
    "contamination": ("contaminated", contamination), "bad verifier": ("suspect_verifier", bad_verifier),
    "length drift": ("length_drift", length_drift), "truncation": ("truncated", truncation),
    "mode collapse": ("alpha_down", mode_collapse), "language mix-in": ("language_mix", language_mix),
    "duplicated shard": ("duplicates", duplicated_shard), "label flip": ("labels_conflict", label_flip),
}  # fmt: skip
