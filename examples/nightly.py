"""What `prefect deploy` reads: the flow of the installed package, under a file name that examples/prefect.yaml can say."""

from ratoon.pipelines.flows.scheduled_flow import ratoon

__all__ = ["ratoon"]
