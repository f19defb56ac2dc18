"""Whether one answer takes over the votes of a closed question: who calls everything alike agrees perfectly with himself.

Pure numbers over table `groups`; what a fair balance is, the recipe says.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.metrics.stats.calibration import rate

METRIC = "consensus/top_answer"
_FEW = 8  # accepted votes below which a balance says nothing


def balance(groups: pa.Table) -> dict[str, Any] | None:
    """The share of the commonest answer among accepted votes, with Wilson's interval, as fields of `measures`; None of none."""
    votes = Counter(groups.filter(pc.equal(groups["vote_status"], "accepted"))["vote"].to_pylist())
    if not votes:
        return None
    top = min(votes, key=lambda answer: (-votes[answer], str(answer)))
    counts = {str(answer): n for answer, n in sorted(votes.items(), key=lambda item: (-item[1], str(item[0])))[:10]}
    params = json.dumps({"answer": top, "counts": counts}, ensure_ascii=False)
    return {"metric": METRIC, "params": params} | rate(votes[top], votes.total())._asdict()


def taken_over(row: dict[str, Any], most: float) -> str | None:
    """What to warn of: the commonest answer has more than `most` of enough votes."""
    if row["n"] < _FEW or row["value"] <= most:
        return None
    said = json.loads(row["params"])["answer"]
    return f"{row['value']:.0%} of {row['n']} accepted votes say {said!r}, more than {most:.0%}: one answer takes over"
