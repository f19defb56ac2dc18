"""A recipe is found, changed by `--set` and refused by the name of what is wrong; what is operational changes no digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratoon.config import semantic_digest
from ratoon.errors import ConfigError, UsageError
from ratoon.pipelines.recipe.recipe import SHIPPED, Recipe, find, load


def test_a_shipped_recipe_is_found_by_its_bare_name_and_under_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = SHIPPED / "smoke.toml"
    assert find("smoke") == find("smoke.toml") == find("recipes/smoke.toml") == shipped


def test_a_file_of_the_users_comes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("smoke.toml").write_text("")
    assert find("smoke.toml") == Path("smoke.toml")


def test_an_unknown_recipe_is_refused_with_the_names_of_those_that_ship() -> None:
    with pytest.raises(ConfigError, match="no recipe 'smoek'") as refused:
        find("smoek")
    assert "smoke" in refused.value.hint


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.toml")))
def test_every_shipped_recipe_is_valid(name: str) -> None:
    assert isinstance(load(name), Recipe)


def test_sets_change_nested_fields_and_list_entries() -> None:
    recipe = load("smoke", ["run.seed=7", "tasks.1.n=9", "engine.scripted.pass_rate={add=0.9}"])
    assert recipe.run.seed == 7
    assert recipe.tasks[1].n == 9
    assert recipe.engine.scripted.pass_rate == {"add": 0.9}


@pytest.mark.parametrize(
    "change",
    ["run.workers=7", "run.iterations=9", "run.shard_size=3", "engine.scripted.delay_s=1.5", "engine.keep_open=true",
     "train.micro_batch_tokens=64", "run.max_failed_share=0.9"],
)  # fmt: skip
def test_operational_fields_change_no_digest(change: str) -> None:
    assert semantic_digest(load("smoke", [change])) == semantic_digest(load("smoke"))


@pytest.mark.parametrize(
    "change", ["run.seed=1", "generate.n=5", "sampling.temperature=0.5", "filters.4.k=2", "train.epochs=3", "tasks.0.n=121"]
)
def test_semantic_fields_change_the_digest(change: str) -> None:
    assert semantic_digest(load("smoke", [change])) != semantic_digest(load("smoke"))


def test_a_recipe_needs_the_suite_that_every_policy_is_measured_by() -> None:
    with pytest.raises(ConfigError, match="heldout"):
        load("smoke", ["suites={other={split='probe'}}"])


def test_an_unknown_key_inside_a_list_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        load("smoke", ["tasks.0.digit=[1]"])


@pytest.mark.parametrize(("changes", "told"), [
    (["sampling.top_p=0.9"], r"top_p = 0\.9"),
    (["sampling.temperature=0"], "temperature = 0"),
    (["consensus.wave=2", "train.nft.negative_weight=0.5"], "consensus.wave stops asking some early"),
    (["consensus.labels=consensus"], "negative_weight is 1.0"),
    (["engine.kind=openai", "engine.openai.thinking_budget=64"], "close thinking at engine.openai.thinking_budget"),
    (["consensus.labels=consensus", "consensus.share=0", "train.nft.negative_weight=0.5"], "consensus.share is 0.0, above 0"),
])  # fmt: skip
def test_what_nft_would_refuse_after_a_round_is_refused_before_it(changes: list[str], told: str) -> None:
    load("smoke", [c for c in changes if "negative_weight" not in c])
    with pytest.raises(ConfigError, match=told):
        load("smoke", ["train.method=nft", *changes])


def test_a_plan_counts_what_proposers_are_asked() -> None:
    from ratoon.run import plan

    (_, asked) = plan("self_guide", ["propose.arms.0.asks=10", "propose.arms.0.waves=3"])
    assert asked["to proposers"] == 30
    assert asked["at most sampled tokens"] == 300 * 32 + 30 * 128
    (_, twice) = plan("self_specialize", ["propose.arms.0.asks=10", "propose.arms.0.per_ask=2"])
    assert twice["to proposers"] == 10 + 10 * 2 * 2
    assert "to proposers" not in plan("smoke")[1]


def test_two_arms_of_one_name_are_refused() -> None:
    arm = "{method='self_instruct'}"
    with pytest.raises(ConfigError, match="two arms are called 'self_instruct'"):
        load("smoke", [f"propose.arms=[{arm},{arm}]"])


def test_what_unwritten_tasks_will_take_is_not_predicted() -> None:
    from ratoon.run import predict

    with pytest.raises(UsageError, match="has its model write tasks"):
        predict("self_guide")


def test_a_folder_called_like_a_shipped_recipe_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke").mkdir()
    assert find("smoke") == SHIPPED / "smoke.toml"
