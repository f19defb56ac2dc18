"""What each kept rollout of a group weighs when curation took some of its group away; knows no loss and no filter.

NFT's pass rate is that of the whole group, so its right and wrong rollouts must count as often as they were sampled: kept right
ones weigh n_right / n_right_kept, kept wrong ones n_wrong / n_wrong_kept. The token weights of an on-policy group then still
sum to zero (2505.18116, the zero-sum identity); a whole group weighs 1 throughout.
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from ratoon.errors import DataError


def group_weights(kept: pa.Table) -> dict[str, float]:
    """Weight per rollout_id. `kept`: rollout_id, group_id, status (pass or fail), and n_valid, n_passed of the *whole* group.

    Raises DataError on a rollout that is neither right nor wrong, and where more are kept than the group had.
    """
    names = ("rollout_id", "group_id", "status", "n_valid", "n_passed")
    rows = list(zip(*(kept[name].to_pylist() for name in names), strict=True))
    if unjudged := [rollout for rollout, _, status, _, _ in rows if status not in ("pass", "fail")]:
        raise DataError(f"rollout {unjudged[0]} is neither right nor wrong", "drop it: filter mixed_group")
    left = Counter((group, status) for _, group, status, _, _ in rows)
    weights = {}
    for rollout, group, status, valid, passed in rows:
        had, has = (passed if status == "pass" else valid - passed), left[group, status]
        if had < has:
            raise DataError(f"group {group} had {had} rollouts of status {status}, {has} are kept", "group the scores again")
        weights[rollout] = had / has
    return weights
