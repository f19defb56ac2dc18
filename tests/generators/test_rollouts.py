"""One shard of rollouts: ids, lengths and text as sampled, what a journal saves, errors and their retry."""

from __future__ import annotations

import dataclasses
import json
import resource
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ratoon import ids, schema
from ratoon.engine import Completion, Policy, Request, Sampling, failed
from ratoon.errors import DataError, EngineDead, EngineError, StoreError
from ratoon.generators import prompts, rollout_records, rollouts
from ratoon.generators.engines.scripted import Plant, ScriptedConfig, ScriptedEngine
from ratoon.render import Renderer
from ratoon.sft.models.tiny import make_tiny
from ratoon.store.journal import Journal

BASE = Policy("m_base", "somewhere")
SAMPLING = Sampling(max_tokens=120, stop_token_ids=(258,))
N_TASKS, N_SAMPLES = 6, 4
PLANTS = {f"t{i}": Plant("sum", str(i + 10)) for i in range(N_TASKS)}


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(make_tiny(tmp_path_factory.mktemp("rollouts") / "tiny"))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "shard.log")
    yield journal
    journal.close()


def make_plan(renderer: Renderer, first_sample: int = 0, sampling: Sampling = SAMPLING) -> rollouts.Plan:
    rows = [{"task_id": f"t{i}", "messages": [{"role": "user", "content": f"{i} + 10?"}]} for i in range(N_TASKS)]
    built, _ = prompts.build(schema.from_rows("tasks", rows), renderer, None)
    assigned = [
        {"iteration": 3, "task_id": p["task_id"], "prompt_id": p["prompt_id"], "sampling_id": sampling.sampling_id,
         "n_planned": N_SAMPLES, "first_sample": first_sample}
        for p in built.to_pylist()
    ]  # fmt: skip
    return rollouts.plan(schema.from_rows("assignments", assigned), built, BASE, sampling)


def scripted(renderer: Renderer, config: ScriptedConfig | None = None, log: Path | None = None) -> ScriptedEngine:
    engine = ScriptedEngine(config or ScriptedConfig(), renderer, PLANTS, log)
    engine.use(BASE)
    return engine


class Replies:
    """An engine that answers each request with what a function says, in order."""

    name = "replies"

    def __init__(self, answer: Callable[[Request], Completion | None]) -> None:
        self.answer = answer

    def __enter__(self) -> Replies:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def use(self, policy: Policy) -> None: ...

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        return (completion for request in requests if (completion := self.answer(request)))

    def logprobs(self, sequences: object) -> list[list[float]]:
        raise NotImplementedError


def test_a_request_per_sample_with_ids_by_coordinates(renderer: Renderer) -> None:
    plan = make_plan(renderer, first_sample=8)
    assert len(plan.requests) == N_TASKS * N_SAMPLES
    assert plan.coordinates["sample"].to_pylist() == [8, 9, 10, 11] * N_TASKS
    for request, row in zip(plan.requests, plan.coordinates.to_pylist(), strict=True):
        assert row["rollout_id"] == ids.rollout_id(row["prompt_id"], "m_base", SAMPLING.sampling_id, row["sample"])
        assert row["group_id"] == ids.group_id(row["prompt_id"], "m_base", SAMPLING.sampling_id)
        assert (request.request_id, request.task_id) == (row["rollout_id"], row["task_id"])


def test_an_assignment_of_an_unknown_prompt_or_another_sampling_is_refused(renderer: Renderer) -> None:
    row = {"task_id": "t", "prompt_id": "p_none", "sampling_id": SAMPLING.sampling_id, "n_planned": 1}
    with pytest.raises(DataError, match="p_none"):
        rollouts.plan(schema.from_rows("assignments", [row]), schema.empty("prompts"), BASE, SAMPLING)
    prompt = schema.from_rows("prompts", [{"prompt_id": "p_none", "token_ids": [1]}])
    with pytest.raises(DataError, match="sampling"):
        rollouts.plan(schema.from_rows("assignments", [row]), prompt, BASE, Sampling(temperature=0.1))


def test_an_empty_shard_gives_empty_tables(renderer: Renderer, journal: Journal) -> None:
    plan = rollouts.plan(schema.empty("assignments"), schema.empty("prompts"), BASE, SAMPLING)
    table, failures = rollouts.run(plan, scripted(renderer), renderer, journal, 1)
    assert (table.num_rows, failures.num_rows) == (0, 0)
    assert table.schema == schema.TABLES["rollouts"]


def test_rows_carry_ids_log_probs_and_mask_of_one_length_and_the_text_they_decode_to(
    renderer: Renderer, journal: Journal
) -> None:
    plan = make_plan(renderer)
    table, failures = rollouts.run(plan, scripted(renderer, ScriptedConfig(truncated=0.3)), renderer, journal, 3)
    assert table.schema == schema.TABLES["rollouts"]
    assert failures.num_rows == 0
    assert table["rollout_id"].to_pylist() == plan.coordinates["rollout_id"].to_pylist()
    for row in table.to_pylist():
        assert len(row["token_ids"]) == len(row["logprobs"]) == len(row["loss_mask"])
        assert set(row["loss_mask"]) == {1}
        assert row["text"] == renderer.decode(row["token_ids"])
        assert (row["token_ids"][-1] == 258) == (row["finish_reason"] == "stop")
        assert (row["iteration"], row["turn"], row["error"], row["seconds"]) == (3, 0, None, 0.0)


def test_what_was_sampled_is_stored_bit_for_bit(renderer: Renderer, journal: Journal) -> None:
    plan, engine = make_plan(renderer), scripted(renderer)
    sampled = {c.request_id: c for c in engine.generate(plan.requests)}
    table, _ = rollouts.run(plan, engine, renderer, journal, 1)
    for row in table.to_pylist():
        completion = sampled[row["rollout_id"]]
        assert row["token_ids"] == list(completion.token_ids)
        assert row["logprobs"] == completion.logprobs


def test_the_end_of_turn_is_no_part_of_the_text_even_where_it_is_no_special_token(renderer: Renderer, journal: Journal) -> None:
    end, letters = renderer.encode("X")[0], renderer.encode("aX")
    plan = make_plan(renderer)
    engine = Replies(lambda r: Completion(r.request_id, [*letters, end], None, "stop"))
    table, _ = rollouts.run(plan, engine, renderer, journal, 1)
    assert set(table["text"].to_pylist()) == {"aX"}


def test_a_resumed_shard_asks_only_what_is_missing_and_equals_an_unbroken_one(
    renderer: Renderer, journal: Journal, tmp_path: Path
) -> None:
    plan, log = make_plan(renderer), tmp_path / "requests.log"
    whole, _ = rollouts.run(plan, scripted(renderer), renderer, Journal(tmp_path / "whole.log"), 1)
    with pytest.raises(EngineDead):
        rollouts.run(plan, scripted(renderer, ScriptedConfig(dies_after=10, deaths=2), log), renderer, journal, 1)
    journaled = {record["id"] for record in journal.records()}
    assert len(journaled) == 10, "what was finished when the engine died is in the journal"
    first = log.read_text().splitlines()
    resumed, _ = rollouts.run(plan, scripted(renderer, log=log), renderer, journal, 1)
    assert resumed.equals(whole)
    assert not journaled & set(log.read_text().splitlines()[len(first) :])


def test_a_finished_shard_asks_nothing(renderer: Renderer, journal: Journal) -> None:
    plan = make_plan(renderer)
    first, _ = rollouts.run(plan, scripted(renderer), renderer, journal, 1)
    again, _ = rollouts.run(plan, Replies(lambda r: pytest.fail("asked again")), renderer, journal, 1)
    assert again.equals(first)


def test_a_completion_reaches_the_journal_while_the_engine_is_silent(renderer: Renderer, journal: Journal) -> None:
    plan, quiet = make_plan(renderer), threading.Event()
    seen: list[int] = []

    def answer(request: Request) -> Completion:
        if request is plan.requests[3]:
            quiet.wait(1.0)  # nothing comes for a while: the three before must be safe by now
            seen.append(len(journal.records()))
        return Completion(request.request_id, [65, 258], None, "stop")

    rollouts.run(plan, Replies(answer), renderer, journal, 1)
    assert seen == [3]


def test_every_completion_is_reported_once_and_journaled_ones_are_not(renderer: Renderer, journal: Journal) -> None:
    plan, reported = make_plan(renderer), list[str]()
    rollouts.run(plan, scripted(renderer), renderer, journal, 1, on_done=lambda c: reported.append(c.request_id))
    assert sorted(reported) == sorted(r.request_id for r in plan.requests)
    rollouts.run(plan, scripted(renderer), renderer, journal, 1, on_done=lambda c: pytest.fail("reported again"))


def test_an_error_is_a_row_with_its_id_and_a_failure(renderer: Renderer, journal: Journal) -> None:
    plan = make_plan(renderer)
    table, failures = rollouts.run(plan, scripted(renderer, ScriptedConfig(errors=0.4)), renderer, journal, 1)
    errored = table.filter(pc.is_valid(table["error"]))
    assert 0 < len(errored) < len(table) == N_TASKS * N_SAMPLES
    for row in errored.to_pylist():
        assert row["finish_reason"] == "error"
        assert row["error"] == "Planted: a planted error"
        assert [row[c] for c in ("text", "token_ids", "logprobs", "loss_mask")] == [None] * 4
    assert failures["subject_id"].to_pylist() == errored["rollout_id"].to_pylist()
    assert set(failures["error_class"].to_pylist()) == {"Planted"}
    assert set(failures["attempt"].to_pylist()) == {0}


def test_lone_surrogates_are_replaced_and_told_in_the_row(renderer: Renderer, journal: Journal) -> None:
    plan = make_plan(renderer)
    bad = plan.requests[1]

    def answer(request: Request) -> Completion:
        if request is bad:
            return failed(request, "BadRequest", "no \ud800 here")
        return Completion(request.request_id, (), None, "stop", text="\ud800 7 \udfff" if request is plan.requests[0] else "7")

    table, failures = rollouts.run(plan, Replies(answer), renderer, journal, 1)
    first, second, third = table.to_pylist()[:3]
    assert (first["text"], first["meta"]) == ("\ufffd 7 \ufffd", '{"lone_surrogates":2}')
    assert second["error"] == "BadRequest: no \ufffd here (lone surrogates replaced)"
    assert (third["text"], third["meta"]) == ("7", None)
    assert failures["message"].to_pylist() == ["no \ufffd here (lone surrogates replaced)"]
    assert rollout_records.with_lone_surrogates(table) == 1
    again, _ = rollouts.run(plan, Replies(lambda r: pytest.fail("asked again")), renderer, journal, 1)
    assert again.equals(table)


def test_a_journal_that_holds_lone_surrogates_is_read_and_gives_the_rows_of_a_clean_one(
    renderer: Renderer, journal: Journal, tmp_path: Path
) -> None:
    plan = make_plan(renderer)
    texts = {r.request_id: f"\udc80 {i}" for i, r in enumerate(plan.requests)}
    engine = Replies(lambda r: Completion(r.request_id, (), None, "stop", text=texts[r.request_id], prompt_tokens=3))
    clean, _ = rollouts.run(plan, engine, renderer, Journal(tmp_path / "clean.log"), 1)
    common = {"ids": "", "lp": None, "src": None, "fin": "stop", "err": None, "s": None, "p": 3}
    journal.append([{"id": id, "text": text} | common for id, text in texts.items()])  # as versions before wrote it
    read, _ = rollouts.run(plan, Replies(lambda r: pytest.fail("asked again")), renderer, journal, 1)
    assert read.equals(clean)
    assert rollout_records.with_lone_surrogates(read) == len(texts)


def test_a_prompt_longer_than_the_context_fails_alone(renderer: Renderer, journal: Journal) -> None:
    plan = make_plan(renderer)
    long = Request(plan.requests[0].request_id, "m_base", [1] * 500, SAMPLING, task_id="t0")
    plan = rollouts.Plan([long, *plan.requests[1:]], plan.coordinates)
    table, failures = rollouts.run(plan, scripted(renderer, ScriptedConfig(context_tokens=400)), renderer, journal, 1)
    assert failures["error_class"].to_pylist() == ["PromptTooLong"]
    assert table["error"].null_count == len(table) - 1


@pytest.mark.parametrize("committed", [False, True])
def test_a_retry_asks_only_the_errored_rollouts_that_are_named(
    renderer: Renderer, journal: Journal, tmp_path: Path, committed: bool
) -> None:
    plan, log = make_plan(renderer), tmp_path / "requests.log"
    before, failures = rollouts.run(plan, scripted(renderer, ScriptedConfig(errors=0.5)), renderer, journal, 1)
    errored = failures["subject_id"].to_pylist()
    named = set(errored[1:]) | {r for r in before["rollout_id"].to_pylist() if r not in errored}
    if committed:  # the journal is gone, the rows are in the store
        journal.discard()
    earlier = before if committed else None
    after, left = rollouts.run(plan, scripted(renderer, log=log), renderer, journal, 1, retry=named, earlier=earlier)
    assert sorted(log.read_text().splitlines()) == sorted(errored[1:])
    assert left["subject_id"].to_pylist() == errored[:1]
    assert after["rollout_id"].to_pylist() == before["rollout_id"].to_pylist()


def test_a_retry_that_fails_again_is_another_attempt(renderer: Renderer, journal: Journal) -> None:
    plan, shaky = make_plan(renderer), ScriptedConfig(errors=0.5)
    _, failures = rollouts.run(plan, scripted(renderer, shaky), renderer, journal, 1)
    retry = set(failures["subject_id"].to_pylist())
    _, again = rollouts.run(plan, scripted(renderer, shaky), renderer, journal, 1, retry=retry)
    assert set(again["subject_id"].to_pylist()) == retry
    assert set(again["attempt"].to_pylist()) == {1}


def test_an_endpoint_without_token_ids_gives_text_and_null_ids(renderer: Renderer, journal: Journal) -> None:
    engine = Replies(lambda r: Completion(r.request_id, (), None, "stop", text="It is 7."))
    table, _ = rollouts.run(make_plan(renderer), engine, renderer, journal, 1)
    row = table.to_pylist()[0]
    assert row["text"] == "It is 7."
    assert row["token_ids"] is None
    assert row["loss_mask"] is None
    assert row["logprobs"] is None


def test_log_probs_that_do_not_fit_their_ids_are_an_engine_error(renderer: Renderer, journal: Journal) -> None:
    engine = Replies(lambda r: Completion(r.request_id, [65, 258], [-0.5], "stop"))
    with pytest.raises(EngineError, match="2 ids but 1 log-probs"):
        rollouts.run(make_plan(renderer), engine, renderer, journal, 1)


def test_requests_that_an_engine_never_answers_are_an_engine_error(renderer: Renderer, journal: Journal) -> None:
    plan = make_plan(renderer)
    engine = Replies(lambda r: Completion(r.request_id, [258], [-1.0], "stop") if r is not plan.requests[2] else None)
    with pytest.raises(EngineError, match="never answered 1 of 24"):
        rollouts.run(plan, engine, renderer, journal, 1)


def test_a_journal_that_cannot_be_written_stops_the_shard(renderer: Renderer, journal: Journal) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # a full disk, for this process
    try:
        with pytest.raises(StoreError):
            rollouts.run(make_plan(renderer), scripted(renderer), renderer, journal, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_threads_may_run_shards_through_one_engine_together(renderer: Renderer, tmp_path: Path) -> None:
    plans = [make_plan(renderer, first_sample=n * N_SAMPLES) for n in range(3)]
    engine = scripted(renderer, ScriptedConfig(delay_s=0.002, max_running=8))
    tables: dict[int, pa.Table] = {}

    def work(n: int) -> None:
        tables[n], _ = rollouts.run(plans[n], engine, renderer, Journal(tmp_path / f"{n}.log"), 1)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, plan in enumerate(plans):
        assert tables[n]["rollout_id"].to_pylist() == plan.coordinates["rollout_id"].to_pylist()


def test_a_rollout_sampled_under_a_schema_says_so_and_the_others_do_not(renderer: Renderer, journal: Journal) -> None:
    plan = make_plan(renderer)
    bound = {r.request_id for r in plan.requests[:N_SAMPLES]}
    requests = [dataclasses.replace(r, schema='{"type":"object"}') if r.request_id in bound else r for r in plan.requests]
    made, _ = rollouts.run(rollouts.Plan(requests, plan.coordinates), scripted(renderer), renderer, journal, 3)
    told = {row["rollout_id"]: row["meta"] for row in made.to_pylist()}
    assert {name for name, meta in told.items() if meta is not None} == bound
    assert {meta for name, meta in told.items() if name in bound} == {f'{{"schema":"{ids.digest(requests[0].schema)}"}}'}


def completed(text: str, **given: object) -> Completion:
    return Completion("", (), None, "stop", text=text, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("came", "text", "start", "meta"),
    [
        (completed("It is 7."), "It is 7.", 0, None),
        (completed("It is 7.", reasoning="3 + 4"), "<think>\n3 + 4\n</think>\n\nIt is 7.", 24, {"reasoning_content": True}),
        (completed("<think>3 + 4</think> It is 7."), "<think>3 + 4</think> It is 7.", 21, None),
        (completed("<think>3 + 4"), "<think>3 + 4", None, {"unfinished_thinking": True}),
        (
            Completion("", (), None, "length", text="", reasoning="3 + 4"),
            "<think>\n3 + 4",
            None,
            {"reasoning_content": True, "unfinished_thinking": True},
        ),
    ],
)
def test_where_an_endpoint_s_answer_begins_is_known_and_its_thinking_stands_in_front(
    came: Completion, text: str, start: int | None, meta: dict[str, bool] | None, renderer: Renderer, journal: Journal
) -> None:
    engine = Replies(lambda request: dataclasses.replace(came, request_id=request.request_id))
    table, _ = rollouts.run(make_plan(renderer), engine, renderer, journal, 1)
    row = table.to_pylist()[0]
    assert (row["text"], row["answer_start"]) == (text, start)
    assert (row["meta"] and json.loads(row["meta"])) == meta


def test_where_an_answer_begins_is_known_of_sampled_ids_and_unknown_of_errors(renderer: Renderer, journal: Journal) -> None:
    ids = [*renderer.encode("<think>3 + 4</think>7"), 258]
    first = make_plan(renderer).requests[0].request_id
    engine = Replies(
        lambda request: (
            failed(request, "Busy", "later")
            if request.request_id == first
            else Completion(request.request_id, ids, [0.0] * len(ids), "stop")
        )
    )
    table, _ = rollouts.run(make_plan(renderer), engine, renderer, journal, 1)
    assert table["answer_start"].to_pylist() == [None] + [len("<think>3 + 4</think>")] * (table.num_rows - 1)
    assert table["meta"].null_count == table.num_rows


def test_a_reply_to_a_later_turn_says_which_one_it_is(renderer: Renderer, journal: Journal) -> None:
    built, _ = prompts.build(
        schema.from_rows("tasks", [{"task_id": "t0", "messages": [{"role": "user", "content": "0?"}]}]), renderer, None
    )
    prompt = built["prompt_id"][0].as_py()
    asked = {
        "iteration": 3,
        "task_id": "t0",
        "prompt_id": prompt,
        "sampling_id": SAMPLING.sampling_id,
        "n_planned": 2,
        "first_sample": 0,
    }
    plan = rollouts.plan(schema.from_rows("assignments", [asked]), built, BASE, SAMPLING, turns={prompt: 2})
    table, _ = rollouts.run(plan, scripted(renderer), renderer, journal, 3)
    assert table["turn"].to_pylist() == [2, 2]


def test_what_an_engine_says_it_did_not_sample_is_masked_and_a_restart_masks_the_same(
    renderer: Renderer, journal: Journal
) -> None:
    def answer(request: Request) -> Completion:
        return Completion(request.request_id, [65, 66, 67], [-0.5, 0.0, -0.25], "length", "test", loss_mask=[1, 0, 1])

    plan = make_plan(renderer)
    first, _ = rollouts.run(plan, Replies(answer), renderer, journal, 3)
    again, _ = rollouts.run(plan, Replies(lambda request: None), renderer, journal, 3)
    assert first["loss_mask"].to_pylist() == [[1, 0, 1]] * len(plan.requests)
    assert first.equals(again)


def test_a_mask_of_another_length_is_the_engines_fault(renderer: Renderer, journal: Journal) -> None:
    def answer(request: Request) -> Completion:
        return Completion(request.request_id, [65, 66], [-0.5, 0.0], "length", "test", loss_mask=[1])

    with pytest.raises(EngineError, match="2 ids but a loss mask of 1"):
        rollouts.run(make_plan(renderer), Replies(answer), renderer, journal, 3)
