"""What `prefect deploy` reads: the flow of the installed package, under a file name that examples/prefect.yaml can say."""

from ratoon.pipelines.scheduled import ratoon

__all__ = ["ratoon"]
