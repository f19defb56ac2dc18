"""What a rule for a further wave brings, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from ratoon.config import Config


class Again(NamedTuple):
    """Tasks to ask again: `n` rollouts each, sampled as the recipe says but for the fields of `sampling`.

    `sampling` must change the recipe's: other rollouts of a task under one sampling are more samples of the same group.
    """

    tasks: frozenset[str]
    n: int
    sampling: Mapping[str, Any]


class WaveRule(NamedTuple):
    """A rule's config, and its function: from table `groups` of the round so far and the config to what is asked, once.

    The config has a field `n`, the further rollouts of a task: the plan of a run counts them.
    """

    config: type[Config]
    choose: Callable[[pa.Table, Any], Again]
