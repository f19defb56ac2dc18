"""`ratoon serve`: local vLLM servers with an agent beside them. `ratoon chat`: a talk with a run's newest policy."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from ratoon.cli import echo


def serve(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="RUN|POLICY|MODEL", help="a run (its newest policy), or a model folder or id")],
    replicas: Annotated[int, typer.Option(min=1, help="servers side by side")] = 1,
    port: Annotated[int, typer.Option(min=1, max=65000, help="the agent's; servers have the next ones")] = 8000,
    host: Annotated[str, typer.Option(help="who may ask: 127.0.0.1 is this machine alone; others need a token")] = "127.0.0.1",
    follow: Annotated[bool, typer.Option("--follow", help="load each new policy of the run as soon as it is there")] = False,
    token_env: Annotated[str, typer.Option(help="environment variable that holds the bearer token")] = "RATOON_TOKEN",
    logs: Annotated[Path, typer.Option(metavar="DIR", help="where the servers' logs go")] = Path("logs"),
) -> None:
    """Serve a policy by local vLLM servers until Ctrl-C; arguments after `--` go to vLLM."""
    from ratoon.pipelines.serving.serve import serve as run

    say = partial(echo.line, err=True)
    run(
        what,
        replicas=replicas,
        host=host,
        port=port,
        follow=follow,
        token_env=token_env,
        logs=logs,
        extra=context.args,
        say=say,
    )


def chat(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the run's folder")],
    against: Annotated[Literal["base"] | None, typer.Option(help="base: let the run's base answer too")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="use the server, secret and engine arguments that the run's own recipe names")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one field of the recipe; repeatable")
    ] = None,
) -> None:
    """Talk to a run's newest policy; `/new` starts over, Ctrl-D leaves. Nothing is stored."""
    from ratoon.pipelines.serving.chat import Chat

    with Chat(run, against_base=against is not None, sets=set_ or [], trusted=trust) as talk:
        echo.line("/new starts over, Ctrl-D leaves")
        while True:
            try:
                question = input("you> ").strip()
            except (EOFError, KeyboardInterrupt):
                echo.line("")
                return
            if question == "/new":
                talk.start_over()
            elif question:
                for who, text in talk.ask(question):
                    echo.line(f"{who}> {text}")
