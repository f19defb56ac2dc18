"""Rounds in which the policy writes tasks, on the scripted engine without Prefect: what is accepted, what never is, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ratoon import sql
from ratoon.errors import Stopped
from ratoon.generators.proposers.prompts import asked_text, rows_of
from ratoon.novelty import RougeIndex, tokens_of
from ratoon.pipelines.curation import question_only as bare
from ratoon.pipelines.curation.curate import Crop, candidates, crop_of, curate
from ratoon.pipelines.flows.runner import opened
from ratoon.pipelines.recipe.recipe import load
from ratoon.pipelines.rollouts import askers, sample, score
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.tasks import pool as propose
from ratoon.pipelines.tasks.propose import Made, propose_tasks
from ratoon.pipelines.views.rows import explain
from ratoon.pipelines.views.summary import rounds
from ratoon.run import Run
from ratoon.sft.data.dataset import read_dataset
from ratoon.store.store import Manifest, Store
from ratoon.text import rouge_l

ISLAND = Path(__file__).resolve().parents[3] / "examples" / "island"


class Round(NamedTuple):
    """What one round without training made."""

    store: Store
    made: Made
    crop: Crop | None
    curated: Manifest | None


@pytest.fixture
def play(tmp_path: Path, tiny_model: Path) -> Callable[..., Round]:
    """`play("self_guide", "run.seed=1", folder="a")`: round 1 of a shipped recipe on the scripted engine; no training."""

    def run(recipe: str, *sets: str, folder: str = "run", rollouts: bool = True, rounds: int = 1) -> Round:
        small = ["model.kind=path", f"model.path={str(tiny_model)!r}", "engine.kind=scripted", "run.shard_size=4",
                 "propose.sampling.max_tokens=1500", "sampling.max_tokens=300", *sets]  # fmt: skip
        with opened(tmp_path / folder, load(recipe, small), quiet=True) as ctx:
            pool = propose.tasks(ctx)
            row, base = records.base(ctx)

            def sampled(asked: Manifest, schemas: Any) -> list[Manifest]:
                return [sample.sample_shard(ctx, s, asked) for s in sample.shards(ctx, asked, row, base, schemas=schemas)]

            made = Made([], [])
            for iteration in range(1, rounds + 1):
                made = propose_tasks(ctx, [pool], made, iteration, lambda function: function, sampled)
            crop = _harvest(ctx, pool, made, row, base) if rollouts else None
            if crop:
                bare.prompts(ctx, crop)
            curated = curate(ctx.store, ctx.recipe, crop) if crop else None
        return Round(Store.open(tmp_path / folder), made, crop, curated)

    return run


def _harvest(ctx: Context, pool: Manifest, made: Made, row: Manifest, base: Any) -> Crop:
    pools, prompts = [pool, *made.tasks], [propose.prompts(ctx, pool), *made.prompts]
    asked = askers.assign_round(ctx, pools, prompts, 1)
    rollouts = [sample.sample_shard(ctx, s, prompts) for s in sample.shards(ctx, asked, row, base)]
    scores = [score.score_shard(ctx, m, pools) for m in rollouts]
    return Crop(1, pools, prompts, rollouts, scores, score.group(ctx, asked, rollouts, scores))


def reasons(found: Round) -> Counter[str | None]:
    return Counter(found.store.read("decisions", found.made.tasks)["reason"].to_pylist())


def tasks(found: Round) -> list[dict[str, Any]]:
    return [row | {"meta": json.loads(row["meta"])} for row in found.store.read("tasks", found.made.tasks).to_pylist()]


@pytest.fixture(scope="module")
def run(prefect_here: None, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipe `self_instruct`, cut down: one round through Prefect, votes and training."""
    root = tmp_path_factory.mktemp("runs") / "self_instruct"
    Run.start("self_instruct", root, sets=_instruct(tiny_model), quiet=True)
    return root


def _instruct(tiny_model: Path) -> list[str]:
    return ["model.kind=path", f"model.path={str(tiny_model)!r}", "engine.kind=scripted", "engine.scripted.styles=['{answer}']",
            'engine.scripted.pass_rate={self_instruct=0.7,"*"=0.4}', "engine.scripted.proposals.duplicates=0.5",
            "propose.sampling.max_tokens=1200", "propose.arms.0.asks=12", "tasks.1.n=30", "tasks.2.n=30", "splits.eval=6",
            "splits.probe=2", "run.shard_size=10", "generate.tasks=24", "generate.n=6", "suites.heldout.n=1",
            "train.min_examples=2", "run.iterations=1"]  # fmt: skip


def test_each_wave_writes_tasks_on_top_of_those_before_and_the_round_learns_what_votes_accept(run: Path) -> None:
    store = Store.open(run)
    made = sorted(store.find("propose"), key=lambda m: (m.iteration or 0, m.shard or ""))
    assert [(m.iteration, m.shard) for m in made] == [(1, f"propose-self_instruct-{w}") for w in (0, 1)]
    rows = rows_of(store.read("tasks", made).to_pylist())
    assert len({r["task_id"] for r in rows}) == sum(m.counts.rows_out for m in made) > 20
    assert {r["meta"]["kind"] for r in rows} == {"calculate", "classify", "compare", "convert", "deduce", "extract"}
    index = RougeIndex(0.7)
    for row in rows:
        assert index.nearest(asked_text(row)) is None
        index.add(row["task_id"], asked_text(row))
    known = {t["task_id"]: t for t in store.read("tasks").to_pylist()}
    mine = {r["task_id"] for r in rows}
    assert all(set(r["parent_ids"]) <= known.keys() for r in rows)
    assert any(set(r["parent_ids"]) & mine for r in rows), "tasks by a model are shown too"
    assert not any(p["split"] != "train" for r in rows for p in (known[i] for i in r["parent_ids"]))
    trained = sql.query(store, "select task_id from examples")["task_id"].to_pylist()
    assert trained
    assert set(trained) <= mine
    votes = sql.query(
        store, "select distinct task_id from groups where label_source = 'consensus' and vote_status = 'accepted'"
    )
    assert set(trained) <= set(votes["task_id"].to_pylist())
    assert all(known[t]["answer"] is None for t in mine)


def test_a_proposer_s_rollout_is_explained_by_what_became_of_each_task_it_wrote(run: Path) -> None:
    store = Store.open(run)
    kept = next(d for d in store.read("decisions").to_pylist() if d["subject_kind"] == "proposal" and d["keep"])
    rollout_id = kept["subject_id"].partition("/")[0]
    told = explain(store, rollout_id[:18])
    assert {d["subject_id"].partition("/")[0] for d in told["decisions"]} == {rollout_id}
    assert len(told["decisions"]) == 2, "per_ask"
    assert len(told["tasks"]) == sum(d["keep"] for d in told["decisions"])
    assert all(json.loads(t["meta"])["rollout_id"] == rollout_id for t in told["tasks"])
    assert told["rollouts"][0]["role"] == "proposer"
    accepted = [d for d in store.read("decisions").to_pylist() if d["subject_kind"] == "proposal" and d["keep"]]
    assert rounds(store)[1]["proposed"] == len(accepted)


def test_what_was_harvested_is_found_again_with_the_tasks_that_models_made(run: Path) -> None:
    store = Store.open(run)
    crop = crop_of(store, 1)
    assert [m.stage for m in crop.pool] == ["tasks", "propose", "propose"]
    assert len(crop.prompts) == 3
    rows = candidates(store, crop)
    assert rows.num_rows == 24 * 6
    assert set(rows["family"].to_pylist()) == {"self_instruct"}


def test_a_finished_run_of_proposals_started_again_asks_nothing(
    run: Path, prefect_here: None, tiny_model: Path, asked: Callable[[Path], list[str]]
) -> None:
    before, commits = asked(run), len(Store.open(run).commits())
    Run.start("self_instruct", run, sets=_instruct(tiny_model), quiet=True)
    assert asked(run) == before
    assert len(set(before)) == len(before)
    assert len(Store.open(run).commits()) == commits


def test_the_next_round_asks_on_top_of_this_one_and_shows_its_tasks(play: Callable[..., Round]) -> None:
    first = play("self_guide", *GUIDE, rollouts=False)
    both = play("self_guide", *GUIDE, rounds=2, rollouts=False)
    assert [m.iteration for m in both.made.tasks] == [1, 2]
    assert both.made.tasks[0].artifact_id == first.made.tasks[0].artifact_id
    old, new = (rows_of(both.store.read("tasks", [m]).to_pylist()) for m in both.made.tasks)
    assert new
    assert not {r["task_id"] for r in new} & {r["task_id"] for r in old}
    assert {p for r in new for p in r["parent_ids"]} <= {r["task_id"] for r in old}
    assert any(r["parent_ids"] for r in new)


GUIDE = ["propose.arms.0.asks=24", "propose.arms.0.per_ask=3", "generate.tasks=60", "tasks.0.n=60", "splits.eval=40",
         "splits.probe=10"]  # fmt: skip


def test_a_few_examples_become_a_dataset_of_new_inputs_without_noise(play: Callable[..., Round]) -> None:
    said = ["{answer}", "{answer}.", "It is {answer}.", "As an AI, I say {answer}", "{answer}, and words that nobody asked for"]
    found = play("self_guide", *GUIDE, f"engine.scripted.styles={json.dumps(said)}", "filters.2.k=1.4")
    rows = tasks(found)
    assert 40 < len(rows) <= 72
    assert {(r["answer"], r["verifier"], r["split"], r["iteration"]) for r in rows} == {(None, None, "train", 1)}
    assert all(r["messages"][0]["content"].endswith(f"\n\n{r['meta']['input']}") for r in rows)
    inputs = [tokens_of(r["meta"]["input"]) for r in rows]
    assert max(rouge_l(a, b) for i, a in enumerate(inputs) for b in inputs[:i]) < 0.7
    assert found.curated is not None
    dataset = read_dataset(found.store.root / found.curated.extra["folder"]).to_pylist()
    mine = {r["task_id"] for r in rows}
    assert dataset
    assert {r["task_id"] for r in dataset} <= mine, "the tasks that measure are never asked"
    assert {(r["label"], r["label_source"]) for r in dataset} == {(None, None)}, "nobody verified them, and nobody says so"
    dropped = Counter(d["reason"] for d in found.store.read("decisions", [found.curated]).to_pylist() if not d["keep"])
    texts = found.store.read("rollouts", found.crop.rollouts)["text"].to_pylist() if found.crop else []
    assert dropped["noise:as an ai"] == sum(t.startswith("As an AI") for t in texts) > 0
    assert dropped["length_band:long"] == sum("nobody asked" in t for t in texts) > 0
    assert not any(
        "As an AI" in r["completion"][0]["content"] or "nobody asked" in r["completion"][0]["content"] for r in dataset
    )


def test_neither_shards_nor_another_start_change_what_is_accepted_and_nothing_is_asked_twice(
    play: Callable[..., Round], asked: Callable[[Path], list[str]]
) -> None:
    first = play("self_guide", *GUIDE, rollouts=False)
    other = play("self_guide", *GUIDE, "run.shard_size=64", folder="other", rollouts=False)
    assert [m.digests["tasks"] for m in first.made.tasks] == [m.digests["tasks"] for m in other.made.tasks]
    requests = asked(first.store.root)
    assert len(set(requests)) == len(requests) == 24
    again = play("self_guide", *GUIDE, rollouts=False)
    assert [m.artifact_id for m in again.made.tasks] == [m.artifact_id for m in first.made.tasks]
    assert asked(first.store.root) == requests


def test_every_candidate_and_every_reply_is_accounted_for(play: Callable[..., Round]) -> None:
    bad = "engine.scripted.proposals={silent=0.2,malformed=0.2,echoes=0.2,duplicates=0.3}"
    found = play("self_guide", *GUIDE, bad, "engine.scripted.errors=0.08", rollouts=False)
    (made,) = found.made.tasks
    counts, seen = made.counts, reasons(found)
    assert set(seen) > {None, "malformed:empty", "malformed:no_json", "malformed:echo", "not_novel:rouge_l"}
    assert counts.rows_planned == sum(seen.values()) + counts.failed
    assert (counts.rows_out, counts.failed > 0) == (seen[None], True)
    replies = found.store.read("rollouts").to_pylist()
    assert {r["role"] for r in replies} == {"proposer"}
    judged = {d["subject_id"].rpartition("/")[0] for d in found.store.read("decisions").to_pylist()}
    assert judged == {r["rollout_id"] for r in replies if r["error"] is None}
    shares = {m["metric"]: m for m in found.store.read("measures").to_pylist()}
    assert shares["proposed_accepted_share"]["value"] == seen[None] / sum(seen.values())
    assert shares["proposed_accepted_share"]["lo"] < shares["proposed_accepted_share"]["value"]


def test_tasks_of_the_evaluation_are_never_accepted(play: Callable[..., Round]) -> None:
    held = play("self_guide", *GUIDE, rollouts=False)
    texts = sql.query(held.store, "select messages[1].content as text from tasks where split <> 'train'")["text"].to_pylist()
    inputs = [text.rpartition("\n\n")[2] for text in texts][:20]
    leaks = f"engine.scripted.proposals={{leaks={json.dumps(inputs)},leaked=0.5,echoes=0,duplicates=0}}"
    found = play("self_guide", *GUIDE, leaks, folder="leaky", rollouts=False)
    assert sum(n for reason, n in reasons(found).items() if str(reason).startswith("held_out:")) > 15
    keys = {r["problem_key"] for r in held.store.read("tasks").to_pylist() if r["split"] != "train"}
    assert not {r["meta"]["input"] for r in tasks(found)} & set(inputs)
    assert not {r["problem_key"] for r in tasks(found)} & keys


@pytest.mark.parametrize(("planted", "why"), [("silent=1", "malformed:empty 24"), ("echoes=1,malformed=0", "malformed:echo 7")])
def test_a_proposer_that_gives_nothing_stops_the_run_and_says_why(play: Callable[..., Round], planted: str, why: str) -> None:
    with pytest.raises(Stopped, match=f"gave 0 tasks.*{why}"):
        play("self_guide", *GUIDE, f"engine.scripted.proposals={{{planted}}}", rollouts=False)


def test_a_recipe_without_the_arm_drops_its_tasks_and_what_came_of_them(play: Callable[..., Round]) -> None:
    two = "propose.arms.0.waves=2"
    both = play("self_guide", *GUIDE, two, rollouts=False)
    assert len(both.made.tasks) == 2
    first, second = (set(both.store.read("tasks", [m])["task_id"].to_pylist()) for m in both.made.tasks)
    assert first
    assert second
    assert not first & second
    one = play("self_guide", *GUIDE, rollouts=False)
    live = {m.stage: m for m in one.store.live().values() if m.iteration == 1}
    assert live["propose"].artifact_id == one.made.tasks[0].artifact_id
    assert {m.shard for m in one.store.live().values() if m.stage in ("ask", "propose", "prompts") and m.iteration == 1} == {
        "propose-self_guide-0"
    }


SPECIAL = [f"propose.arms.0.path={str(ISLAND / 'texts')!r}", f"tasks.0.path={str(ISLAND / 'questions.jsonl')!r}",
           "propose.arms.0.asks=16", "propose.arms.0.passage_chars=400", "generate.tasks=20", "generate.n=2",
           "engine.scripted.proposals={duplicates=0.2,malformed=0.1}"]  # fmt: skip


def test_a_folder_becomes_questions_that_need_it_answered_from_retrieved_passages(play: Callable[..., Round]) -> None:
    found = play("self_specialize", *SPECIAL, 'engine.scripted.pass_rate={closed_book=0.2,"*"=0.7}')
    rows, seen = tasks(found), reasons(found)
    assert len(rows) > 8
    assert seen["answerable:closed_book"] > 2
    for row in rows:
        assert row["meta"]["output"] in row["meta"]["passage"]
        shown, _, question = row["messages"][0]["content"].rpartition("\n\nQuestion: ")
        assert question == row["meta"]["asked"]
        assert row["meta"]["passage"] in shown, "BM25 finds the passage that a question quotes"
    roles = Counter(found.store.read("rollouts")["role"].to_pylist())
    assert roles["proposer"] == 16
    assert roles["closed_book"] == 2 * (len(rows) + seen["answerable:closed_book"])
    bare = {p["task_id"]: p for p in found.store.read("prompts").to_pylist() if p["role"] == "closed_book"}
    for row in rows:
        prompt = bare[row["task_id"]]
        assert prompt["messages"][-1]["content"] == row["meta"]["asked"], "the question of this task, without its passage"
        assert prompt["parent_rollout_id"] == row["meta"]["rollout_id"]
    assert found.curated is not None
    data = read_dataset(found.store.root / found.curated.extra["folder"]).to_pylist()
    asked = {row["task_id"]: row["meta"]["asked"] for row in rows}
    mine = [row for row in data if row["task_id"] in asked]
    assert mine
    sampled = {r["rollout_id"]: r["token_ids"] for r in found.store.read("rollouts").to_pylist()}
    for row in mine:
        assert row["prompt"][-1]["content"] == asked[row["task_id"]], "the example asks without the passages"
        assert row["token_ids"] == sampled[row["rollout_id"]]
        assert (row["logprobs"], row["logprob_source"]) == (None, None)


def test_a_policy_that_knows_everything_anyway_gets_no_question(play: Callable[..., Round]) -> None:
    with pytest.raises(Stopped, match="answerable:closed_book"):
        play("self_specialize", *SPECIAL, "engine.scripted.pass_rate={closed_book=1.0}", rollouts=False)


def test_files_that_cannot_be_read_are_failures_of_the_asking(play: Callable[..., Round], tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "good.txt").write_text((ISLAND / "texts" / "trade.txt").read_text())
    (texts / "han.txt").write_text("東京の北にある小さな村では、毎年春になると川の石に名前を書いて流す祭りが行われる。" * 3)
    (texts / "noise.txt").write_bytes(bytes(range(256)) * 4)
    (texts / "void.txt").write_text("")
    found = play("self_specialize", *SPECIAL, f"propose.arms.0.path={str(texts)!r}",
                 "engine.scripted.pass_rate={closed_book=0}", rollouts=False)  # fmt: skip
    failed = {r["subject_id"]: r["error_class"] for r in found.store.read("failures").to_pylist() if r["stage"] == "ask"}
    assert failed == {"noise.txt": "Binary", "void.txt": "Empty"}
    asked = next(m for m in found.store.find("ask") if (m.shard or "").startswith("propose"))
    assert asked.counts.failed == 2
    said = str(found.store.read("prompts", [asked])["messages"].to_pylist())
    assert "東京の北" in said
    assert "struck from tin" in said
    assert tasks(found)


def test_the_pool_of_a_run_holds_no_two_tasks_over_the_threshold(play: Callable[..., Round]) -> None:
    found = play("self_specialize", *SPECIAL, rollouts=False)
    index = RougeIndex(0.7)
    for row in rows_of(found.store.read("tasks", found.made.tasks).to_pylist()):
        assert index.nearest(asked_text(row)) is None
        index.add(row["task_id"], asked_text(row))
