"""`ratoon curate` and `ratoon export`: new decisions from stored numbers, and datasets for other trainers and the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ratoon.cli import echo
from ratoon.errors import UsageError

RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="the run's folder, for example runs/demo")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one field of the recipe; repeatable")
]


def curate(
    run: RunDir,
    name: Annotated[str | None, typer.Option("--name", help="name of the new dataset")] = None,
    set_: Sets = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option("--sweep", metavar="KEY=V1,V2", help="write nothing: what each setting would keep; repeatable"),
    ] = None,
    iteration: Annotated[int | None, typer.Option("--round", min=1, help="which round a sweep looks at; the newest")] = None,
    json: Json = False,
) -> None:
    """New decisions and a new dataset from stored scores; no model is asked. With --sweep, a table of many settings."""
    if sweep:
        _sweep(run, sweep, set_ or [], iteration, json)
        return
    if name is None:
        raise UsageError("the new dataset has no name", "--name NAME, or --sweep KEY=V1,V2 to look before writing")
    from ratoon.run import Run

    rows = Run(run).curate(name, sets=set_ or [])
    _print(rows, f"dataset {name}", json)


def _sweep(run: Path, axes: list[str], sets: list[str], iteration: int | None, json: bool) -> None:
    from ratoon.pipelines.curation.sweep import sweep

    _print(sweep(run, axes, sets, iteration), "settings; gain: diversity over that of as many rollouts at random", json)


def export(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="a dataset folder; for prompts also a run")],
    format: Annotated[
        str | None,
        typer.Option(
            help="trl-sft, trl-sft-ids, trl-kto, trl-pref, grpo-replay, sharegpt, axolotl or jsonl; prompts with verifier and "
            "pass rate: verl, verifiers, nemo-gym or open-instruct"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="where the files go; must not exist")] = None,
    push: Annotated[str | None, typer.Option("--push", metavar="REPO", help="a dataset repository of the hub")] = None,
    public: Annotated[bool, typer.Option("--public", help="a repository that is made is public; otherwise private")] = False,
) -> None:
    """Hand a dataset to another trainer, or push it to the hub as it lies."""
    if (format is None) != (out is None) or (format is None and push is None):
        raise UsageError("what to write is not said", "--format FORMAT --out DIR, or --push REPO, or all three")
    folder = dataset
    if format is not None and out is not None:
        from ratoon.sft.data.export import export as write

        folder = write(dataset, format, out)
        echo.line(f"wrote {folder}")
    if push is not None:
        from ratoon.sft.data.push import push as send

        echo.line(f"pushed {send(folder, push, private=not public)}")


def _print(rows: list[dict[str, object]], title: str, json: bool) -> None:
    if json:
        echo.json(rows)
        return
    from ratoon.cli.print import print_rows

    print_rows(rows, title)
