from ratoon import schema
from ratoon.metrics.verifiers import math
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.metrics.voting.consensus import ConsensusConfig, consensus
from ratoon.metrics.voting.equivalence import SAME, by_math
from ratoon.metrics.voting.extracted_answers import readings


def test_one_answer_in_other_symbols_is_one_vote() -> None:
    """The real reader and the real judge in their worker: (x+1)^2 and its expansion agree, x^2 does not."""
    said = [r"$\boxed{(x+1)^2}$", r"$\boxed{x^2+2x+1}$", r"$\boxed{(x+1)^2}$", r"$\boxed{x^2}$", r"$\boxed{0.5}$", "no idea"]
    rows = [{"rollout_id": f"r{i}", "group_id": "g", "text": t, "finish_reason": "stop"} for i, t in enumerate(said)]
    rollouts = schema.from_rows("rollouts", rows)
    config = ConsensusConfig(reader="math", equivalence="symbolic", n_min=1)
    with VerifierPool(1, extra={SAME: math.same}) as pool:
        read = readings(rollouts, "math", {}, pool)
        made = consensus(rollouts, read, schema.empty("assignments"), config, same=by_math(pool, {}))
    (group,) = made.groups.to_pylist()
    assert (group["n_passed"], group["n_valid"], group["n_unparsed"], group["vote_status"]) == (3, 6, 1, "accepted")
    assert [s["status"] for s in made.scores.to_pylist()] == ["pass"] * 3 + ["fail"] * 3
