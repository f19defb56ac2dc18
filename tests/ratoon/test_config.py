"""Configs: unknown keys refused with the nearest name, `--set` by path, operational fields outside every digest."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, field_validator

from ratoon import config
from ratoon.config import Config, operational, partly_operational
from ratoon.errors import ConfigError


class Length(Config):
    kind: Literal["length"] = "length"
    max_tokens: int = Field(256, ge=1, description="longest kept")


class Engine(Config):
    temperature: float = Field(1.0, ge=0, description="of sampling")
    endpoint: str = operational("here", description="where")
    filters: list[Length] = Field(default_factory=list, description="in order")

    @field_validator("temperature")
    @classmethod
    def not_four(cls, value: float) -> float:
        if value == 4:
            raise ValueError("four is unlucky")
        return value


class Recipe(Config):
    engine: Engine = Field(Engine(), description="who answers")
    seed: int = Field(..., description="of the run")


class Server(Config):
    args: dict[str, object] = partly_operational({}, ("slots",), description="free keys")

    @field_validator("args")
    @classmethod
    def no_key(cls, args: dict[str, object]) -> dict[str, object]:
        if "key" in args:
            raise ValueError("no key here")
        return args


def test_of_a_partly_operational_table_only_the_other_keys_are_hashed_and_nothing_is_no_field() -> None:
    plain, fast = Server(), Server(args={"slots": 4})
    assert config.semantic(plain) == config.semantic(fast) == {}
    assert config.semantic(Server(args={"slots": 4, "draft": {"n": 2}})) == {"args": {"draft": {"n": 2}}}
    assert config.semantic_digest(Server(args={"draft": None})) != config.semantic_digest(plain)


def test_a_refused_table_is_not_quoted() -> None:
    with pytest.raises(ConfigError, match="args: no key here") as caught:
        config.parse(Server, {"args": {"key": "secret"}}, "r.toml")
    assert "secret" not in str(caught.value)


def test_an_unknown_key_offers_the_nearest_name_at_its_own_depth() -> None:
    with pytest.raises(ConfigError, match=r"engine\.temprature: unknown key; did you mean 'temperature'\?"):
        config.parse(Recipe, {"seed": 1, "engine": {"temprature": 2}}, "r.toml")
    with pytest.raises(ConfigError, match=r"engine\.filters\.0\.max_token: unknown key; did you mean 'max_tokens'\?"):
        config.parse(Recipe, {"seed": 1, "engine": {"filters": [{"max_token": 2}]}}, "r.toml")


def test_a_key_like_none_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="zzz: unknown key; known: engine, seed"):
        config.parse(Recipe, {"seed": 1, "zzz": 2}, "r.toml")


def test_every_bad_field_is_told_at_once_with_its_value() -> None:
    tree = {"engine": {"temperature": "hot", "filters": [{"max_tokens": 0}]}}
    with pytest.raises(ConfigError) as caught:
        config.parse(Recipe, tree, "r.toml")
    assert "r.toml is not valid" in caught.value.message
    assert "engine.temperature = 'hot'" in caught.value.message
    assert "engine.filters.0.max_tokens = 0" in caught.value.message
    assert "seed: required, but absent" in caught.value.message


def test_a_validators_own_words_reach_the_user() -> None:
    with pytest.raises(ConfigError, match=r"engine\.temperature = 4.*: four is unlucky"):
        config.parse(Recipe, {"seed": 1, "engine": {"temperature": 4.0}}, "r.toml")


def test_nan_and_infinity_are_refused() -> None:
    with pytest.raises(ConfigError, match="temperature"):
        config.parse(Recipe, {"seed": 1, "engine": {"temperature": float("inf")}}, "r.toml")


def test_an_operational_field_is_in_no_digest_at_any_depth() -> None:
    here, there = Recipe(seed=1), Recipe(seed=1, engine=Engine(endpoint="there"))
    assert config.semantic_digest(here) == config.semantic_digest(there)
    assert config.semantic_digest([{"a": here}]) == config.semantic_digest([{"a": there}])
    assert config.semantic_digest(here) != config.semantic_digest(Recipe(seed=2))
    assert "endpoint" not in config.semantic(here)["engine"]


def test_a_default_and_the_same_value_written_out_are_one_config() -> None:
    assert config.semantic_digest(Engine()) == config.semantic_digest(Engine(temperature=1.0))


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("a.b=2", {"a": {"b": 2, "l": [{"x": 1}]}}),
        ("a.new.deep=true", {"a": {"b": 1, "l": [{"x": 1}], "new": {"deep": True}}}),
        ("a.l.0.x=1e-5", {"a": {"b": 1, "l": [{"x": 1e-5}]}}),
        ("a.b=word", {"a": {"b": "word", "l": [{"x": 1}]}}),
        ("a.b='x=y'", {"a": {"b": "x=y", "l": [{"x": 1}]}}),
        ("a.b=[1, 2]", {"a": {"b": [1, 2], "l": [{"x": 1}]}}),
    ],
)
def test_set_reaches_any_depth_and_reads_toml_values(item: str, expected: dict[str, object]) -> None:
    tree = {"a": {"b": 1, "l": [{"x": 1}]}}
    assert config.apply_sets(tree, [item]) == expected
    assert tree == {"a": {"b": 1, "l": [{"x": 1}]}}, "the given tree is not changed"


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("a.b", "is not KEY=VALUE"),
        ("=1", "is not KEY=VALUE"),
        ("a.l.7.x=1", "no index of a list of 1"),
        ("a.b.c=1", "holds a value"),
    ],
)
def test_a_set_that_leads_nowhere_is_refused(item: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        config.apply_sets({"a": {"b": 1, "l": [{"x": 1}]}}, [item])


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml"):
        config.read_toml(tmp_path / "no.toml")
    (tmp_path / "bad.toml").write_text("a = \n")
    with pytest.raises(ConfigError, match=r"bad\.toml is not TOML: .*line 1"):
        config.read_toml(tmp_path / "bad.toml")


def test_a_config_cannot_be_changed_after_it_was_made() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Engine().temperature = 2.0  # type: ignore[misc]


def test_a_band_must_not_be_upside_down() -> None:
    config.check_range(0.1, 0.1, "band")
    with pytest.raises(ValueError, match=r"band: 0\.9 is above 0\.1"):
        config.check_range(0.9, 0.1, "band")
