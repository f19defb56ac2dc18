"""Every shipped recipe, cut down and scripted, makes the artifacts it always made: their content digests are kept.

Two rounds through the flow; only the training process is stood in for, by one that writes the start's own weights. A change
that means to alter what runs hold records the digests anew:
`python -m pytest tests/pipelines/test_goldens.py --record-goldens`.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ratoon import Run
from ratoon.pipelines.recipe.recipe import SHIPPED
from ratoon.sft.models import policy
from ratoon.sft.training import launch
from ratoon.sft.training.job import Job, config_digest
from ratoon.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests" / "data" / "goldens.json"
RECIPES = sorted(path.stem for path in SHIPPED.glob("*.toml"))
Digests = dict[str, list[str]]

SCRIPTED = [
    "engine.kind=scripted", 'engine.scripted.pass_rate={"*"=0.5}', "engine.scripted.truncated=0.05",
    "engine.scripted.unparsed=0.05", "run.iterations=2", "run.shard_size=8", "run.workers=2", "generate.tasks=12",
    "suites.heldout.n=1", "audit.at_end=off", "train.min_examples=1",
]  # fmt: skip
FEW = ["splits.eval=4", "splits.probe=2"]
OFTEN_RIGHT = 'engine.scripted.pass_rate={"*"=0.8}'  # a vote needs a majority
PLAIN = "engine.scripted.styles=['{answer}']"
WRITES = ["propose.sampling.max_tokens=1200", "propose.arms.0.asks=12"]


def pools(arms: int) -> list[str]:
    """Thirty tasks in each arm, four of them held out."""
    return [*FEW, *(f"tasks.{arm}.n=30" for arm in range(arms))]


# Where a recipe needs more than the common cut: enough of what its own filters and votes work on.
SETS: dict[str, list[str]] = {
    "co_reward": [*pools(2), *WRITES, "generate.n=8", OFTEN_RIGHT],
    "consensus": [*pools(3), "generate.n=8", OFTEN_RIGHT],
    "demo": [*pools(5), "generate.n=4"],
    "demo-nft": [*pools(5), "generate.n=4"],
    "knowrl": [*pools(1), *WRITES, "propose.arms.0.asks=24", "generate.n=8", OFTEN_RIGHT, PLAIN],
    "nft": [*pools(5), "generate.n=4", "generate.mixed_groups=16"],
    "self_guide": [*WRITES, "propose.arms.0.per_ask=3", "tasks.0.n=60", "splits.eval=40", "splits.probe=10"],
    "self_instruct": [*FEW, "tasks.1.n=30", "tasks.2.n=30", *WRITES, "generate.n=6", PLAIN],
    "self_specialize": [*WRITES],
    "sharpening": [*pools(3), "generate.n=4"],
    "starter": [*pools(2), "generate.n=4"],
}  # fmt: skip


def digests(root: Path) -> Digests:
    """Content digests of the live artifacts by round and stage, sorted."""
    held = defaultdict(list)
    for made in Store.open(root).live().values():
        held[f"{'-' if made.iteration is None else made.iteration} {made.stage}"].append(made.content_digest)
    return {stage: sorted(held[stage]) for stage in sorted(held)}


def untrained(job: Job, *_: Any) -> None:
    """The job's policy folder as its training process leaves it, with the weights that training starts from."""
    folder = Path(job.out)
    shutil.copytree(job.start, folder)
    facts = policy.PolicyManifest(
        policy_id=job.policy_id, parent_policy_id=job.parent_policy_id, base_policy_id=job.base_policy_id, kind="full",
        method=job.method, config_digest=config_digest(job.config), dataset_id=job.dataset_id,
        dataset_digest=job.dataset_digest, seed=job.seed, iteration=job.iteration, tokenizer_digest=job.tokenizer_digest,
        template_digest=job.template_digest, weights_digest=policy.weights_digest(folder),
    )  # fmt: skip
    policy.write_manifest(folder, facts)


@pytest.fixture
def play(prefect_here: None, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Digests]:
    """`play("demo", "filters.3.k=1")`: the digests of a recipe's two rounds."""
    monkeypatch.setattr(launch, "_run", untrained)
    monkeypatch.chdir(ROOT)  # recipes name files of the checkout

    def run(recipe: str, *sets: str) -> Digests:
        model = ["model.kind=path", f"model.path={str(tiny_model)!r}"]
        cut = [] if recipe == "smoke" else [*SCRIPTED, *SETS[recipe]]
        return digests(Run.start(recipe, tmp_path / recipe, sets=[*model, *cut, *sets], quiet=True).root)

    return run


@pytest.fixture(scope="module")
def goldens(request: pytest.FixtureRequest) -> Iterator[dict[str, Digests]]:
    """The recorded digests by recipe; with `--record-goldens` what the tests of this session make of them."""
    recorded = json.loads(GOLDENS.read_text(encoding="utf-8")) if GOLDENS.exists() else {}
    yield recorded
    if request.config.getoption("--record-goldens"):
        GOLDENS.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_makes_what_it_always_made(
    recipe: str, play: Callable[..., Digests], goldens: dict[str, Digests], request: pytest.FixtureRequest
) -> None:
    made = play(recipe)
    if request.config.getoption("--record-goldens"):
        goldens[recipe] = made
    assert made == goldens[recipe]


def test_another_threshold_shows_in_what_is_curated_and_not_before(
    play: Callable[..., Digests], goldens: dict[str, Digests]
) -> None:
    made = play("starter", "filters.3.k=1")
    assert made["1 curate"] != goldens["starter"]["1 curate"]
    assert made["1 lint"] == goldens["starter"]["1 lint"]  # of the round's own rollouts
