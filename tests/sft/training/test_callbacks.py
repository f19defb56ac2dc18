"""Which checkpoints are whole: broken ones go, whoever else removes them at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ratoon.sft.training.callbacks import resume_point


def test_every_rank_may_remove_the_same_broken_checkpoint_and_finds_the_whole_one(tmp_path: Path) -> None:
    whole, broken = (tmp_path / "checkpoints" / f"checkpoint-{step}" for step in (4, 8))
    for folder in (whole, broken):
        folder.mkdir(parents=True)
    (whole / "whole.json").write_text("{}")
    for n in range(500):
        (broken / f"part-{n}").touch()
    with ThreadPoolExecutor(8) as ranks:
        found = list(ranks.map(lambda _: resume_point(tmp_path), range(8)))
    assert set(found) == {str(whole)}
    assert not broken.exists()
