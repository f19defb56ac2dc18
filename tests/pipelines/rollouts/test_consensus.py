"""Labels by agreement through the flow, on the scripted engine, with the gold hidden: what learns from a vote, and what not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from ratoon import schema
from ratoon.errors import Refused
from ratoon.generators.hidden import hide_gold
from ratoon.metrics.voting.vote_accuracy import Label, measures, trend
from ratoon.pipelines.curation.curate import Crop, crop_of, curate
from ratoon.pipelines.flows.runner import opened
from ratoon.pipelines.recipe.recipe import SHIPPED, load
from ratoon.pipelines.rollouts import askers, sample, score
from ratoon.pipelines.rollouts import calibrate_votes as calibrate
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.rollout_set import RoundSoFar
from ratoon.pipelines.tasks import pool as propose
from ratoon.pipelines.training import gate
from ratoon.pipelines.views.rows import show
from ratoon.sft.data.dataset import read_dataset
from ratoon.store.store import Store

SMALL = ["engine.kind=scripted", 'engine.scripted.pass_rate={subtract=0.75, "*"=0.4}', "engine.scripted.truncated=0.05",
         "engine.scripted.unparsed=0.05", "splits.eval=6", "splits.probe=2", "run.shard_size=12", "run.workers=2",
         "run.iterations=1", "generate.tasks=36", *(f"tasks.{i}.n=40" for i in range(3)), "suites.heldout.n=1",
         "train.epochs=1"]  # fmt: skip


@pytest.fixture(scope="module")
def sets(tiny_model: Path) -> list[str]:
    return ["model.kind=path", f"model.path={str(tiny_model)!r}", *SMALL]


@pytest.fixture(scope="module")
def run(prefect_here: None, sets: list[str], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The recipe `consensus`, cut down, through Prefect and training."""
    from ratoon.run import Run

    root = tmp_path_factory.mktemp("runs") / "consensus"
    Run.start("consensus", root, sets=sets, quiet=True)
    return Store.open(root)


def gather(ctx: Any) -> Crop:
    """One round's rollouts in waves, as the flow asks them, without Prefect."""
    pool = propose.tasks(ctx)
    prompts = propose.prompts(ctx, pool)
    row, base = records.base(ctx)
    held = RoundSoFar(1, [pool], [prompts])
    while (wave := askers.next_wave(ctx, held)) is not None:
        made = [sample.sample_shard(ctx, s, prompts) for s in sample.shards(ctx, wave, row, base, len(held.rollouts))]
        held = held.with_wave(wave, made, [score.score_shard(ctx, m, pool) for m in made])
    groups = score.group(ctx, held.asked, held.rollouts, held.scores)
    return Crop(1, [pool], [prompts], held.rollouts, held.scores, groups)


def groups(store: Store) -> list[dict[str, Any]]:
    return [g for g in store.read("groups").to_pylist() if g["label_source"] == "consensus"]


def test_training_tasks_have_no_gold_and_evaluation_tasks_keep_theirs(run: Store) -> None:
    tasks = run.read("tasks").to_pylist()
    mine = [t for t in tasks if t["split"] == "train"]
    assert mine
    assert all((t["answer"], t["verifier"], t["verifier_args"]) == (None, None, "{}") for t in mine)
    assert all(t["answer"] and t["verifier"] for t in tasks if t["split"] != "train")
    assert {t["task_id"] for t in tasks} == set(run.read("oracles")["task_id"].to_pylist()), "the truth is kept for measuring"


def test_labels_are_groups_and_agreement_is_scores(run: Store) -> None:
    scores = {s["subject_id"]: s for s in run.read("scores").to_pylist() if s["scorer"] == "consensus"}
    rollouts = [r for r in run.read("rollouts").to_pylist() if r["iteration"] == 1 and r["rollout_id"] in scores]
    labels = {g["group_id"]: g for g in groups(run)}
    assert len(labels) == 36
    assert sum(g["n"] for g in labels.values()) == len(rollouts) == len(scores)
    assert {g["vote_status"] for g in labels.values()} > {"accepted"}
    for r in rollouts:
        label, said = labels[r["group_id"]], scores[r["rollout_id"]]
        if label["vote_status"] != "accepted":
            assert said["status"] == "abstain"
        else:
            agrees = said["answer"] == label["vote"] and r["finish_reason"] != "length"
            assert said["status"] == ("pass" if agrees else "fail")
            assert (label["pass_rate"] is None) is False


def test_without_an_accepted_vote_a_task_reaches_no_dataset(run: Store) -> None:
    (made,) = run.find("curate")
    rows = read_dataset(run.root / made.extra["folder"]).to_pylist()
    accepted = {g["group_id"]: g["vote"] for g in groups(run) if g["vote_status"] == "accepted"}
    answers = {s["subject_id"]: s["answer"] for s in run.read("scores").to_pylist() if s["scorer"] == "consensus"}
    assert rows
    assert {r["group_id"] for r in rows} <= set(accepted)
    assert all(answers[r["rollout_id"]] == accepted[r["group_id"]] for r in rows)
    assert {(r["label"], r["label_source"]) for r in rows} == {(True, "consensus")}
    reasons = pc.unique(run.read("decisions")["reason"]).to_pylist()
    assert "unverified:abstain" in reasons


def test_early_stops_save_rollouts_and_lose_their_interval(run: Store) -> None:
    labels = groups(run)
    stopped = [g for g in labels if g["stop_rule"] == "curtail"]
    longer = [g for g in labels if g["stop_rule"] == "extended"]
    assert stopped
    assert all(g["n_planned"] < 16 and g["pass_lo"] is None for g in stopped)
    assert all(16 < g["n_planned"] <= 32 and g["pass_lo"] is None for g in longer)
    whole = [g for g in labels if g["stop_rule"] is None]
    assert {g["n_planned"] for g in whole} == {16}
    assert all((g["pass_lo"] is None) == (g["vote_status"] != "accepted") for g in whole)
    assert sum(g["n_planned"] for g in labels) <= 36 * 16, "what is given on was saved before"
    samples = run.read("rollouts", columns=["group_id", "sample"]).to_pylist()
    for g in labels:
        assert sorted(s["sample"] for s in samples if s["group_id"] == g["group_id"]) == list(range(g["n"]))


def test_the_votes_are_measured_against_the_hidden_truth(run: Store) -> None:
    found = {m["metric"].removeprefix("consensus/"): m for m in run.read("measures").to_pylist() if m["iteration"] == 1}
    truth = dict(zip(*(c.to_pylist() for c in run.read("oracles").columns), strict=True))
    accepted = [g for g in groups(run) if g["vote_status"] == "accepted"]
    right = sum(g["vote"] == truth[g["task_id"]] for g in accepted)
    assert found["label_accuracy"]["value"] == pytest.approx(right / len(accepted))
    assert found["label_accuracy"]["n"] == len(accepted)
    assert found["label_accuracy"]["lo"] <= right / len(accepted) <= found["label_accuracy"]["hi"]
    assert found["coverage"]["value"] == pytest.approx(len(accepted) / 36)
    assert found["label_accuracy"]["value"] > found["rollout_accuracy"]["value"], "the majority is right oftener than a reply"
    assert {"ece", "brier", "auroc", "risk_coverage", "reward_accuracy", "agreement", "vote_accuracy"} <= set(found)
    assert json.loads(found["risk_coverage"]["params"])["curve"]


def test_rows_are_shown_once_with_their_agreement(run: Store) -> None:
    rows = show(run, "kept", 500)
    assert rows
    assert len({r["rollout_id"] for r in rows}) == len(rows)
    assert {r["status"] for r in rows} == {"pass"}


def test_a_round_in_waves_is_found_again_and_not_asked_again(
    sets: list[str], tmp_path: Path, asked: Callable[[Path], list[str]]
) -> None:
    root, recipe = tmp_path / "run", load("consensus", sets)
    with opened(root, recipe, quiet=True) as ctx:
        crop = gather(ctx)
        commits, sent = len(ctx.store.commits()), asked(root)
    with opened(root, recipe, quiet=True) as ctx:
        again = gather(ctx)
        assert [m.artifact_id for m in again.inputs] == [m.artifact_id for m in crop.inputs]
        assert [m.artifact_id for m in crop_of(ctx.store, 1).inputs] == [m.artifact_id for m in crop.inputs]
        assert len(ctx.store.commits()) == commits
    assert asked(root) == sent
    assert len(set(sent)) == len(sent), "sample numbers go on"


def test_all_at_once_and_in_waves_label_alike(sets: list[str], tmp_path: Path) -> None:
    """Curtailment adds no error: the same label or none, task by task, as when all are asked."""
    found, spent, rules = {}, {}, {}
    sets = [*sets, "generate.tasks=16", "generate.n=32", "consensus.reuse=false", 'engine.scripted.pass_rate={"*"=0.85}']
    kinds = {
        "all": ["consensus.wave=0"],
        "curtail": ["consensus.wave=2"],
        "anytime": ["consensus.wave=2", "consensus.stop=anytime"],
    }
    for name, more in kinds.items():
        with opened(tmp_path / name, load("consensus", [*sets, *more]), quiet=True) as ctx:
            made = ctx.store.read("groups", [gather(ctx).groups]).to_pylist()
        found[name] = {g["group_id"]: g["vote"] if g["vote_status"] == "accepted" else None for g in made}
        spent[name], rules[name] = sum(g["n"] for g in made), {g["stop_rule"] for g in made}
    assert found["all"] == found["curtail"]
    assert spent["anytime"] < spent["curtail"] < spent["all"] == 16 * 32
    assert rules["all"] == {None}
    assert all(name in rules[name] for name in ("curtail", "anytime"))


def test_votes_weigh_what_the_log_probs_say(sets: list[str], tmp_path: Path) -> None:
    """p = .3 on the right answer, which the script is far surer of: votes lose tasks by count that they win by probability."""
    more = ['engine.scripted.pass_rate={"*"=0.3}', "engine.scripted.confidence=1000", "consensus.wave=0", "consensus.share=0.0",
            "consensus.margin=0.0", "generate.n=8", "consensus.n_min=1"]  # fmt: skip
    accuracy = {}
    for weights in ("one", "probability", "softmax", "rank"):
        with opened(tmp_path / weights, load("consensus", [*sets, *more, f"consensus.weights={weights}"]), quiet=True) as ctx:
            made = calibrate.calibrate(ctx, gather(ctx))
            assert made is not None
            rows = {m["metric"]: m["value"] for m in ctx.store.read("measures", [made]).to_pylist()}
        accuracy[weights] = rows["consensus/vote_accuracy"]
    assert accuracy["probability"] > accuracy["one"]
    assert accuracy["rank"] >= accuracy["one"]


@pytest.mark.parametrize(
    ("more", "status"),
    [(["engine.scripted.unparsed=1.0", 'engine.scripted.pass_rate={"*"=0.0}'], "none"), (["generate.n=1"], "few")],
)
def test_votes_where_nothing_parses_or_one_reply_is_all_label_nothing_and_stop_the_round(
    sets: list[str], tmp_path: Path, more: list[str], status: str
) -> None:
    recipe = load("consensus", [*sets, "generate.tasks=12", *more])
    with opened(tmp_path / "run", recipe, quiet=True) as ctx:
        crop = gather(ctx)
        made = ctx.store.read("groups", [crop.groups]).to_pylist()
        said = {g["vote_status"] for g in made}
        assert status in said
        assert said <= {"none", "few"}
        assert all(g["pass_rate"] is None for g in made)
        found = curate(ctx.store, ctx.recipe, crop)
        assert found.counts.rows_out == 0
        reasons = set(ctx.store.read("decisions", [found])["reason"].to_pylist())
        assert "unverified:abstain" in reasons
        assert reasons <= {"unverified:abstain", "finish_reason:length", None}, "null where a step let a row pass"
        assert calibrate.calibrate(ctx, crop) is not None
        with pytest.raises(Refused, match="kept 0 of"):
            gate.gate(ctx, crop, found)


def test_a_round_may_mix_tasks_that_a_verifier_judges_with_tasks_that_only_votes_label(sets: list[str], tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps({"prompt": f"Why {i}?"}) + "\n" for i in range(8)))
    text = (SHIPPED / "consensus.toml").read_text()
    arm = f'[[tasks]]\nsource = "dataset"\nname = "open"\npath = "{tmp_path}/questions.jsonl"\ncolumns = {{ answer = "" }}\n'
    (tmp_path / "mixed.toml").write_text(f"{text}\n{arm}")
    more = ["consensus.labels=verifier", "generate.tasks=16", "splits.eval=1", "splits.probe=1"]
    with opened(tmp_path / "run", load(tmp_path / "mixed.toml", [*sets, *more]), quiet=True) as ctx:
        crop = gather(ctx)
        made = ctx.store.read("groups", [crop.groups]).to_pylist()
        tasks = {t["task_id"]: t for t in ctx.store.read("tasks").to_pylist()}
    assert len(made) == 16
    assert {g["label_source"] for g in made} == {"verifier", "consensus"}
    for g in made:
        assert (g["label_source"] == "consensus") == (tasks[g["task_id"]]["verifier"] is None)
        assert (g["n_planned"] == 16) or g["label_source"] == "consensus", "only votes are asked in waves"


def test_sharpening_trains_on_each_group_s_likeliest_reply_and_on_nothing_never_said(sets: list[str], tmp_path: Path) -> None:
    """p = .1 on the right answer, which the script likes best: one exact best-of-4 step lifts it to 1 - .9^4 = .344."""
    confident = ['engine.scripted.pass_rate={"*"=0.1}', "engine.scripted.confidence=1000", "generate.n=4", "generate.tasks=96",
                 "engine.scripted.truncated=0.0", "engine.scripted.unparsed=0.0"]  # fmt: skip
    with opened(tmp_path / "run", load("sharpening", [*sets, *confident]), quiet=True) as ctx:
        crop = gather(ctx)
        rows = read_dataset(ctx.store.root / curate(ctx.store, ctx.recipe, crop).extra["folder"])
        rollouts = [r for r in ctx.store.read("rollouts", crop.rollouts).to_pylist() if r["finish_reason"] == "stop"]
        status = {s["subject_id"]: s["status"] for s in ctx.store.read("scores", crop.scores).to_pylist()}
    mean = {r["rollout_id"]: sum(r["logprobs"]) / len(r["logprobs"]) for r in rollouts}
    best: dict[str, str] = {}
    for r in sorted(rollouts, key=lambda r: mean[r["rollout_id"]]):
        best[r["group_id"]] = r["rollout_id"]
    kept = rows["rollout_id"].to_pylist()
    assert set(kept) == set(best.values()), "one a group, the likeliest"
    p = sum(s == "pass" for s in status.values()) / len(status)
    lifted = sum(status[id] == "pass" for id in kept) / len(kept)
    assert p == pytest.approx(0.1, abs=0.06)
    assert lifted == pytest.approx(0.344, abs=0.15)
    covered = {r["group_id"] for r in rollouts if status[r["rollout_id"]] == "pass"}
    assert lifted == len(covered) / len(best), "right where it was sampled once, and nowhere else"


def test_hiding_keeps_problems_and_gives_no_oracle_to_a_doubtful_task() -> None:
    message = [{"role": "user", "content": "2 + 2?"}]
    rows = [{"task_id": f"t{i}", "messages": message, "answer": a, "verifier": "numeric", "split": s, "problem_key": "k"}
            for i, (a, s) in enumerate([("4", "train"), ("5", "train"), ("4", "eval")])]  # fmt: skip
    told = [{"task_id": f"t{i}", "oracle": a} for i, a in enumerate("454")]
    tasks, oracles = hide_gold(schema.from_rows("tasks", rows), schema.from_rows("oracles", told))
    assert tasks.num_rows == 2
    assert [t["answer"] for t in tasks.sort_by("split").to_pylist()] == ["4", None]
    assert oracles["task_id"].to_pylist() == ["t2"], "two truths are none"


def votes(n: int, share: float, right: int) -> list[Label]:
    """`n` groups of that vote share, `right` of them right."""
    said = [(("pass", "7", i < right),) for i in range(n)]
    return [Label(f"k{i}", "7", share, True, row) for i, row in enumerate(said)]


def test_rising_agreement_without_accuracy_warns_and_with_falling_accuracy_is_a_reason_of_the_gate() -> None:
    def rounds(*made: list[Label]) -> list[dict[str, Any]]:
        return [row | {"iteration": i} for i, labels in enumerate(made) for row in measures(labels)]

    told: list[str] = []

    class Said:
        def say(self, text: str) -> None:
            told.append(text)

    flat = trend(rounds(votes(300, 0.5, 150), votes(300, 0.9, 155)))
    falling = trend(rounds(votes(300, 0.5, 200), votes(300, 0.9, 100)))
    fine = trend(rounds(votes(300, 0.5, 150), votes(300, 0.9, 270)))
    calibrate.warn_of_collapse(Said(), 2, *flat)
    assert "collapsing" in told.pop()
    calibrate.warn_of_collapse(Said(), 2, *fine)
    assert not told
    calibrate.warn_of_collapse(Said(), 2, *falling)
    assert "falling" in told.pop()
    assert gate.falling(*flat) == gate.falling(*fine) == []
    (one,) = gate.falling(*falling)
    assert (one.reason, one.value < 0) == ("collapse", True)


def test_measures_of_nothing_are_no_rows_and_of_silence_are_null() -> None:
    assert measures([]) == []
    silent = {row["metric"]: row for row in measures([Label("k", None, None, False, (("abstain", None, False),))])}
    assert silent["consensus/label_accuracy"]["value"] is None
    assert silent["consensus/vote_accuracy"]["value"] == 0.0
