"""`ratoon serve`: local vLLM servers with an agent beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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

    say = lambda line: typer.echo(line, err=True)  # noqa: E731
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
