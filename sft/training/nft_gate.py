"""What NFT must not be trained on, judged by what a dataset says of its sources: who sampled it, how, and who labelled it.

NFT's ratio is to the density that sampled. Other weights, another tokenizer or template, a cut or bent distribution, groups
that were asked until they said something, and labels that follow the pass rate by construction all train without an error and
to the wrong end (2505.18116). Unknown (null) is let pass: whoever brings a file answers for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ratoon.errors import TrainError
from ratoon.sft.models import policy
from ratoon.sft.training.job import Job

# field, the value that leaves the distribution whole, and what a person calls the rest
_WHOLE = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0}
_VOTES = ("consensus",)
MOST_NEGATIVE = 0.5


def bent(sampling: Mapping[str, Any]) -> list[str]:
    """The fields of a sampling under which tokens were not drawn from the model's own softmax, as `top_p = 0.9`."""
    found = [f"{name} = {sampling[name]}" for name, whole in _WHOLE.items() if sampling.get(name) not in (None, whole)]
    return found + (["temperature = 0"] if sampling.get("temperature") == 0 else [])


def check(job: Job, sources: Sequence[Mapping[str, Any]]) -> None:
    """Raise TrainError, with the values that differ and the way out, unless NFT may train on data of these sources."""
    for source in sources:
        _check_sampler(job, source.get("policies", ()))
        _check_sampling(source.get("samplings", ()), source.get("constrained", 0))
        if rules := source.get("stop_rules"):
            raise TrainError(
                f"groups were asked until a stop rule ended them ({', '.join(rules)}), so their pass rates are biased",
                "sample whole groups: take the stop rule out and ask generate.n times; or train.method = \"rft\"",
            )  # fmt: skip
        _check_votes(job, source)


def _check_sampler(job: Job, policies: Iterable[Mapping[str, Any]]) -> None:
    """The policies that sampled, against the one training starts from: tokenizer, template, weights."""
    for other in policies:
        for name, ours in (("tokenizer", job.tokenizer_digest), ("template", job.template_digest)):
            theirs = other.get(f"{name}_digest")
            if theirs is not None and theirs != ours:
                raise TrainError(
                    f"the data was sampled under {name} {theirs}, and the model to train has {name} {ours}",
                    "train the model that sampled the data, with its tokenizer and chat template as they were then",
                )
        if other["policy_id"] == job.parent_policy_id or _near(job, other.get("iteration")):
            continue
        theirs, ours = other.get("weights_digest"), policy.weights_digest(Path(job.start))
        if theirs != ours:
            raise TrainError(
                f"the data was sampled by policy {other['policy_id']} (round {other.get('iteration')}, weights {theirs}), "
                f"and training starts from {job.parent_policy_id} (weights {ours})",
                f"start from the sampler: --model FOLDER of {other['policy_id']}; or sample again from this model",
            )


def _near(job: Job, iteration: int | None) -> bool:
    """Whether the policy of a round is one of those before the start that `train.nft.max_staleness` lets pass."""
    return iteration is not None and 0 < job.iteration - 1 - iteration <= job.config.nft.max_staleness


def _check_sampling(samplings: Iterable[Mapping[str, Any]], constrained: int) -> None:
    for sampling in samplings:
        if fields := bent(sampling):
            raise TrainError(
                f"the data was sampled with {', '.join(fields)}: its log-probs are not those of the model's own distribution",
                "sample with temperature above 0 and nothing else set in [sampling]; or train.method = \"rft\"",
            )  # fmt: skip
    if constrained:
        raise TrainError(
            f"{constrained} rollouts were sampled under a grammar or schema: the model did not choose their tokens freely",
            "sample without it and let the verifier refuse what is off-format; or train.method = \"rft\"",
        )  # fmt: skip


def _check_votes(job: Job, source: Mapping[str, Any]) -> None:
    """Votes label the minority wrong by construction, and it may be right: only gently, and only above a threshold."""
    votes = [name for name in source.get("label_sources", ()) if name in _VOTES]
    weight, threshold = job.config.nft.negative_weight, source.get("vote_threshold")
    if votes and (weight > MOST_NEGATIVE or not threshold):
        raise TrainError(
            f"labels come from votes ({', '.join(votes)}), train.nft.negative_weight is {weight} and the vote threshold is "
            f"{threshold if threshold else 'not set'}: the minority, perhaps the truth, would be pushed down hard",
            f"set train.nft.negative_weight to {MOST_NEGATIVE} or less and consensus.share above 0; or train.method = \"rft\"",
        )  # fmt: skip
