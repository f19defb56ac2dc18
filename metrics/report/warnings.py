"""Everything an audit can warn of: code, severity, what it means, what to do; and the limits beyond which it does.

The limits are choices, tuned on planted faults (`benchmarks/audit_faults.py`), not laws: data that is meant to be short, or of
one template, goes beyond some of them by nature. When a warning fires is in `metrics/report/rules.py`.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from ratoon.config import Config
from ratoon.metrics.report import Severity


class LimitsConfig(Config):
    """The limits beyond which the audit warns. Shares are 0 to 1."""

    fall: float = Field(0.15, gt=0, lt=1, description="fall of a diversity (Vendi, alpha, beta) at equal n, intervals disjoint")
    fall_large: float = Field(0.05, gt=0, lt=1, description="the same where both samples have `large` rows or more")
    large: int = Field(2000, ge=1, description="rows of a sample from which `fall_large` holds")
    gzip: float = Field(0.25, gt=0, description="rise of the compression ratio")
    novelty: float = Field(0.20, gt=0, lt=1, description="fall of the median novelty")
    auc: float = Field(0.80, gt=0.5, lt=1, description="area under the curve of telling the two sides apart")
    length_psi: float = Field(0.25, gt=0, description="stability index of lengths against the other side")
    cluster: float = Field(0.10, gt=0, lt=1, description="share of one region, or five regions' fair share where that is more")
    tag_factor: float = Field(3.0, gt=1, description="times its share on the other side that a family has grown")
    template: float = Field(0.30, gt=0, le=1, description="share of rows that hold one run of six words")
    unreadable: float = Field(0.01, ge=0, lt=1, description="share of a file's rows that could not be read")
    duplicates: float = Field(0.02, ge=0, lt=1, description="share of rows that repeat another")
    near_duplicates: float = Field(0.10, ge=0, lt=1, description="share of rows that nearly repeat one of another task")
    similarity: float = Field(0.8, gt=0, le=1, description="Jaccard similarity of shingles from which two texts nearly repeat")
    truncated: float = Field(0.02, ge=0, lt=1, description="share of replies cut off")
    empty: float = Field(0.01, ge=0, lt=1, description="share of empty replies")
    refusal: float = Field(0.02, ge=0, lt=1, description="share of replies that begin as refusals")
    language: float = Field(0.02, ge=0, lt=1, description="share of texts in another language than most")
    corner: float = Field(0.05, ge=0, lt=1, description="share of groups that agree and that nothing passed")
    corner_share: float = Field(0.75, gt=0, le=1, description="agreement of such a group")
    corner_rows: int = Field(4, ge=2, description="least replies of such a group")
    conflicts: float = Field(0.01, ge=0, lt=1, description="share of verdicts that contradict others on the same answer")
    gold: float = Field(0.02, ge=0, lt=1, description="share of verdicts that contradict the gold number")
    all_right: float = Field(0.60, gt=0, le=1, description="share of groups that all replies solved")
    all_wrong: float = Field(0.40, gt=0, le=1, description="share of groups that no reply solved")
    ece: float = Field(0.10, gt=0, lt=1, description="calibration error of agreement where votes are labels")
    fpr: float = Field(0.05, gt=0, lt=1, description="upper bound of a verifier's false positive rate")
    reward_length: float = Field(0.40, gt=0, lt=1, description="rank correlation of reward and length, either sign")
    behaviours: float = Field(0.25, gt=0, lt=1, description="fall of worded checking and planning while texts grow")
    embedder_cut: float = Field(0.10, gt=0, lt=1, description="share of texts longer than the embedding model sees")
    least: int = Field(3, ge=1, description="fewest rows that make a share a warning")


class Known(NamedTuple):
    """A warning: how grave, what it means, and what mends it."""

    severity: Severity
    means: str
    action: str


WARNINGS: dict[str, Known] = {
    "contaminated": Known(
        "stop", "rows hold items of an evaluation set",
        "drop them (`ratoon decontaminate`, or filter `decontaminate`) before training; scores on that set mean nothing else",
    ),
    "near_evaluation": Known(
        "note", "rows say nearly what a held-out or benchmark question says, as embeddings see it",
        "read both: the same with other numbers is contamination that n-grams miss, merely the same subject is none",
    ),
    "suspect_verifier": Known(
        "stop", "groups agree on an answer, and nothing passed: the verifier or the gold answer may be wrong",
        "read the groups: mend the gold or the verifier (`ratoon verifiers --formats`), judge again, or leave the tasks out",
    ),
    "labels_conflict": Known(
        "stop", "one answer to one task passed here and failed there",
        "judge again; a verifier must give equal answers equal verdicts, and labels that were shuffled or flipped will not",
    ),
    "verdict_against_gold": Known(
        "stop", "verdicts differ from comparing the answer's number with the gold number",
        "read the rows: mend the labels, or the verifier, or the column map if `gold` is not the right column",
    ),
    "verifier_fpr": Known(
        "warn", "a verifier may pass more wrong answers than its floor allows",
        "plant more answers (`verify.measure.probes`) or mend the verifier: what it wrongly passes is trained on",
    ),
    "unreadable": Known(
        "warn", "rows of the file could not be read", "mend the file; everything below is of the rows that could be read",
    ),
    "duplicates": Known(
        "warn", "rows are there twice, prompt and reply",
        "drop the copies (filter `exact_dedup`); see whether a shard was added twice",
    ),
    "near_duplicates": Known(
        "warn", "rows nearly repeat rows of other tasks", "drop them (filter `minhash`), keeping the best of each cluster",
    ),
    "one_template": Known(
        "warn", "many rows share one run of words", "vary prompts and seeds, strip the template, or cap rows that hold it",
    ),
    "gzip_up": Known(
        "warn", "texts compress much better than before: they repeat one another",
        "see the repeated runs of words; raise the temperature, drop near-duplicates, mix in earlier rounds",
    ),
    "vendi_down": Known(
        "warn", "replies have become less diverse",
        "compare the curation with its random control; widen tasks, mix in earlier rounds",
    ),
    "tasks_vendi_down": Known(
        "warn", "prompts have become less diverse", "widen what tasks are proposed from; drop paraphrases (filter `semantic`)",
    ),
    "alpha_down": Known(
        "warn", "replies to one task have become alike: the policy collapses",
        "raise the temperature, or train on fewer replies a task",
    ),
    "beta_down": Known(
        "warn", "tasks have become alike: the proposer collapses", "widen what tasks are proposed from, and drop paraphrases",
    ),
    "large_cluster": Known(
        "warn", "one region of meaning holds too many rows", "read the region; cap it, or ask for tasks of other regions",
    ),
    "tag_share": Known("warn", "one family has crowded out others", "reset the weights of families, or cap the family"),
    "novelty_down": Known(
        "warn", "new rows lie nearer to old ones than a round ago",
        "propose harder or other tasks; stop when nothing is new",
    ),
    "drift": Known(
        "warn", "a classifier tells the two sides apart: they are not of one source",
        "see lost and new regions; train on it only if that is what you want",
    ),
    "length_drift": Known(
        "warn", "texts have other lengths than before",
        "see lengths by round; check the token limit, and rewards that follow length",
    ),
    "truncated": Known("warn", "replies are cut off", "raise `sampling.max_tokens`, or drop them (filter `finish_reason`)"),
    "empty": Known("warn", "replies are empty", "see the prompt template and the stop tokens; drop them (filter `lint`)"),
    "refusals": Known("warn", "replies refuse", "see the prompts that were refused; drop the replies (filter `lint`)"),
    "language_mix": Known(
        "warn", "texts are in another language than most", "drop them (filter `lint`), or split the data by language",
    ),
    "all_right": Known("warn", "most tasks are too easy: all replies pass, and there is nothing to learn", "ask harder tasks"),
    "all_wrong": Known(
        "warn", "most tasks are never solved: too hard, or judged wrongly",
        "ask easier tasks; test the verifier",
    ),
    "calibration": Known(
        "warn", "agreement does not say how often the vote is right",
        "label by votes only above a calibrated share (`ratoon curate`)",
    ),
    "reward_length": Known("warn", "the reward follows length", "compare rewards at equal length, or normalise by it"),
    "reward_not_rate": Known(
        "warn", "the reward rises and the pass rate does not: the reward is being hacked",
        "trust the verifier; mend the reward",
    ),
    "behaviours_down": Known(
        "warn", "texts grow while checking and planning fade", "look for padding; reward finished answers, not length",
    ),
    "selection_no_better": Known(
        "warn", "what was kept is no better than as many rows at random", "save the filters' cost, or filter by something else",
    ),
    "update_lost": Known(
        "warn", "most of what training moved was rounded away where the policy was written",
        "write float32 (`train.save_dtype`), take larger steps (`train.learning_rate`), or more of them",
    ),
    "embedder_cut": Known(
        "note", "many texts are longer than the embedding model sees", "trust numbers of words more, or take a longer model",
    ),
    "small_sample": Known(
        "note", "a change beyond its limit cannot be told from chance at this size",
        "audit more rows (`--sample`), or wait for them",
    ),
}  # fmt: skip
