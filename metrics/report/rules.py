"""When a warning fires: numbers of one or two sides in, findings out. Reads no row; SQL over table `rows` names its evidence.

A finding is a code of `WARNINGS` with what it saw. Shares fire by their value, from a few rows on; changes between sides fire
when they are large and their intervals are disjoint. A number that is missing says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ratoon.metrics.report.warnings import LimitsConfig
from ratoon.metrics.stats.measures import Measure

Numbers = Mapping[str, Measure]
_IDS = "select row_id, {shown} from rows where side = 'subject' and {where} order by {order} limit 50"


LEAST_KEPT = 0.5  # of a training's update, in the weights that engines load


class Finding(NamedTuple):
    """One warning that fires. `weight` is how far beyond the limit, 1 at it; `sql` gives the rows, their ids first."""

    code: str
    message: str
    sql: str
    evidence: dict[str, float | int | str | None]
    weight: float


class Case(NamedTuple):
    """The numbers of the subject, of what it is compared with (none: empty), and the limits."""

    now: Numbers
    was: Numbers
    limits: LimitsConfig


class Share(NamedTuple):
    """A warning on a share of rows or groups: its metric, limit, what it is a share of, and which rows those are."""

    code: str
    metric: str
    limit: str
    says: str
    where: str
    order: str = "row_id"
    shown: str = "prompt, completion"


class Fall(NamedTuple):
    """A warning on a number that fell (sign -1) or rose (+1) by a share, intervals disjoint."""

    code: str
    metric: str
    limit: str
    says: str
    sign: int
    where: str
    order: str


SHARES = (
    Share("unreadable", "reading.unreadable", "unreadable", "could not be read", "false"),
    Share("contaminated", "contamination.rows", "", "hold an item of an evaluation set", "contaminated_by is not null",
          shown="contaminated_by, prompt, completion"),
    Share("near_evaluation", "contamination.review", "", "are near a held-out question by embeddings",
          "near_question is not null", shown="near_question, prompt, completion"),
    Share("suspect_verifier", "consensus.corner", "corner", "agree on an answer that nothing passed with", "corner",
          "vote_share desc, task_id, row_id", "task_id, gold, vote, vote_share, pass_rate"),
    Share("labels_conflict", "quality.conflicts", "conflicts", "contradict other verdicts on the same answer to the same task",
          "conflict", "task_id, row_id", "task_id, answer, gold, passed"),
    Share("verdict_against_gold", "quality.against_gold", "gold", "contradict the gold number", "against_gold",
          "task_id, row_id", "task_id, answer, gold, passed"),
    Share("duplicates", "diversity.exact_duplicates", "duplicates", "repeat another row", "duplicate_of is not null",
          "duplicate_of, row_id", "duplicate_of, prompt, completion"),
    Share("near_duplicates", "diversity.near_duplicates", "near_duplicates", "nearly repeat a row of another task",
          "near_of is not null", "near_of, row_id", "near_of, prompt, completion"),
    Share("one_template", "diversity.template", "template", "share one run of six words", "template"),
    Share("truncated", "quality.truncated", "truncated", "are cut off", "truncated"),
    Share("empty", "quality.empty", "empty", "are empty", "empty"),
    Share("refusals", "quality.refusal", "refusal", "begin as refusals do", "refusal"),
    Share("language_mix", "quality.other_language", "language", "are in another language than most", "other_language",
          "language, row_id", "language, prompt, completion"),
    Share("all_right", "quality.all_right", "all_right", "were solved by every reply", "pass_rate = 1"),
    Share("all_wrong", "quality.all_wrong", "all_wrong", "were solved by no reply", "pass_rate = 0"),
    Share("embedder_cut", "embedding.cut", "embedder_cut", "are longer than the embedding model sees", "words is not null",
          "words desc, row_id", "words, prompt, completion"),
)  # fmt: skip

_DENSE = "nearest is not null", "nearest desc, row_id"
FALLS = (
    Fall("vendi_down", "diversity.vendi", "fall", "diversity of replies (linear Vendi, equal n)", -1, *_DENSE),
    Fall("tasks_vendi_down", "diversity.task_vendi", "fall", "diversity of prompts (linear Vendi, equal n)", -1, *_DENSE),
    Fall("alpha_down", "diversity.alpha", "fall", "diversity within tasks (alpha)", -1, *_DENSE),
    Fall("beta_down", "diversity.beta", "fall", "diversity between tasks (beta)", -1, *_DENSE),
    Fall("gzip_up", "diversity.compression_gzip", "gzip", "the compression ratio of texts", 1, "template is not null",
         "template desc, top_4 desc, row_id"),
    Fall("novelty_down", "diversity.novelty", "novelty", "the median novelty", -1, "novelty is not null", "novelty, row_id"),
)  # fmt: skip


def findings(case: Case) -> list[Finding]:
    """Every warning that fires, in no order."""
    found = [one for rule in SHARES for one in _share(case, rule)]
    for fall in FALLS:
        found += _fall(case, fall)
    for special in _SPECIAL:
        found += special(case)
    return found


def _sql(where: str, order: str = "row_id", shown: str = "prompt, completion") -> str:
    return _IDS.format(shown=shown, where=where, order=order)


def _share(case: Case, rule: Share) -> Iterator[Finding]:
    one = case.now.get(rule.metric)
    if one is None or one.value is None:
        return
    limit = float(getattr(case.limits, rule.limit)) if rule.limit else 0.0
    least = case.limits.least if rule.limit and rule.code != "unreadable" else 1
    if one.value > limit and one.value * one.n >= least - 1e-6:
        what = f"{one.note.get('unit', 'rows')}"
        message = f"{_percent(one.value)} of {one.n} {what} {rule.says}" + (
            f"; the limit is {_percent(limit)}" if limit else ""
        )
        if said := one.note.get("said"):
            message += f": {said}"
        yield Finding(rule.code, message, _sql(rule.where, rule.order, rule.shown), _evidence(case, rule.metric, limit),
                      one.value / limit if limit else 10 + one.value)  # fmt: skip


def _fall(case: Case, rule: Fall) -> Iterator[Finding]:
    now, was = _pair(case, rule.metric)
    if now is None or was is None or not was.value or now.value is None:
        return
    limit = float(getattr(case.limits, rule.limit))
    if rule.limit == "fall" and min(now.n, was.n) >= case.limits.large:
        limit = case.limits.fall_large
    change = rule.sign * (now.value / was.value - 1)
    if change <= limit:
        return
    message = (
        f"{rule.says} {'rose' if rule.sign > 0 else 'fell'} by {_percent(change)}, from {was.value:.3g} to {now.value:.3g}"
    )
    evidence = _evidence(case, rule.metric, limit)
    if _apart(now, was, rule.sign):
        yield Finding(rule.code, message, _sql(rule.where, rule.order), evidence, change / limit)
    else:
        yield Finding(
            "small_sample", f"{message}, but the intervals of {now.n} rows overlap", _sql("true"), evidence, change / limit
        )


def _large_cluster(case: Case) -> Iterator[Finding]:
    now, was = _pair(case, "diversity.largest_cluster")
    if now is None or now.value is None:
        return
    k = int(now.note.get("clusters", 1))
    limit = max(case.limits.cluster, 5 / max(k, 1))
    grown = was is None or was.value is None or now.value > 2 * was.value
    if now.value > limit and grown and k > 5:
        cluster = int(now.note.get("cluster", -1))
        yield Finding(
            "large_cluster", f"region {now.note.get('label')!r} holds {_percent(now.value)} of {now.n} rows; the limit for {k} "
            f"regions is {_percent(limit)}", _sql(f"cluster = {cluster}"),
            _evidence(case, "diversity.largest_cluster", limit), now.value / limit,
        )  # fmt: skip


def _tag(case: Case) -> Iterator[Finding]:
    for name, now in case.now.items():
        if not name.startswith("family.") or now.value is None or not case.was:
            continue
        was = case.was.get(name)
        before = 0.0 if was is None or was.value is None else was.value
        families = any(n.startswith("family.") for n in case.was)
        if families and now.value > 0.1 and now.value > case.limits.tag_factor * before and now.value * now.n >= 10:
            family = name.removeprefix("family.")
            where = "family = '" + family.replace("'", "''") + "'"
            yield Finding(
                "tag_share", f"family {family!r} is {_percent(now.value)} of the rows and was {_percent(before)}", _sql(where),
                _evidence(case, name, case.limits.tag_factor * before), now.value / max(before * case.limits.tag_factor, 0.01),
            )  # fmt: skip


def _drift(case: Case) -> Iterator[Finding]:
    one = case.now.get("drift.auc")
    if one is not None and one.value is not None and one.value > case.limits.auc and (one.lo or 0) > case.limits.auc - 0.1:
        yield Finding(
            "drift", f"a classifier tells the two sides apart with an AUC of {one.value:.2f} ({one.lo:.2f} to {one.hi:.2f}); "
            f".5 is alike, the limit is {case.limits.auc}", _sql("novelty is not null", "novelty desc, row_id"),
            _evidence(case, "drift.auc", case.limits.auc), one.value / case.limits.auc,
        )  # fmt: skip
    length = case.now.get("drift.length_psi")
    if length is not None and length.value is not None and length.value > case.limits.length_psi:
        now, was = (side.get("complexity.words") for side in (case.now, case.was))
        means = f" (mean words {was.value:.0f} then, {now.value:.0f} now)" if now and was and now.value and was.value else ""
        order = "words desc, row_id" if now and was and (now.value or 0) >= (was.value or 0) else "words, row_id"
        yield Finding(
            "length_drift", f"lengths differ from the other side's by a stability index of {length.value:.2f}{means}; "
            f"the limit is {case.limits.length_psi}", _sql("words is not null", order, "words, prompt, completion"),
            _evidence(case, "drift.length_psi", case.limits.length_psi), length.value / case.limits.length_psi,
        )  # fmt: skip


def _verifier(case: Case) -> Iterator[Finding]:
    for name, one in case.now.items():
        if name.startswith("verifier.fpr/") and one.hi is not None and one.value is not None and one.hi > case.limits.fpr:
            verifier = name.partition("/")[2]
            yield Finding(
                "verifier_fpr", f"verifier {verifier!r} passed {_percent(one.value)} of {one.n} planted wrong answers, perhaps "
                f"{_percent(one.hi)} of all; the limit is {_percent(case.limits.fpr)}", _sql("passed"),
                _evidence(case, name, case.limits.fpr), one.hi / case.limits.fpr,
            )  # fmt: skip
    ece = case.now.get("consensus.ece")
    if ece is not None and ece.value is not None and ece.value > case.limits.ece:
        yield Finding(
            "calibration", f"agreement misses how often votes are right by {ece.value:.2f} over {ece.n} groups; the limit is "
            f"{case.limits.ece}", _sql("vote_share is not null", "vote_share desc, row_id", "vote, vote_share, pass_rate"),
            _evidence(case, "consensus.ece", case.limits.ece), ece.value / case.limits.ece,
        )  # fmt: skip


def _reward(case: Case) -> Iterator[Finding]:
    one = case.now.get("quality.reward_length")
    limit = case.limits.reward_length
    if (
        one is not None
        and one.value is not None
        and abs(one.value) > limit
        and min(abs(one.lo or 0), abs(one.hi or 0)) > limit / 2
    ):
        order = "reward desc, words desc, row_id"
        yield Finding(
            "reward_length", f"Spearman's correlation of reward and length is {one.value:.2f} over {one.n} rows; the limit is "
            f"{limit}", _sql("reward is not null", order, "reward, words, prompt, completion"),
            _evidence(case, "quality.reward_length", limit), abs(one.value) / limit,
        )  # fmt: skip
    now, was = _pair(case, "quality.reward")
    name = "quality.pass_rate_corrected" if "quality.pass_rate_corrected" in case.now else "quality.pass_rate"
    rate, before = _pair(case, name)
    if now and was and rate and before and _apart(now, was, 1) and not _apart(rate, before, 1):
        yield Finding(
            "reward_not_rate", f"the mean reward rose from {was.value:.3g} to {now.value:.3g} while the pass rate went from "
            f"{before.value:.3g} to {rate.value:.3g}", _sql("reward is not null and not passed", "reward desc, row_id"),
            _evidence(case, "quality.reward", None) | _evidence(case, name, None), 1.0,
        )  # fmt: skip


def _behaviours(case: Case) -> Iterator[Finding]:
    now, was = _pair(case, "complexity.behaviours")
    words, before = _pair(case, "complexity.words")
    if not (now and was and words and before and was.value and now.value is not None):
        return
    fell = 1 - now.value / was.value
    if fell > case.limits.behaviours and _apart(now, was, -1) and _apart(words, before, 1):
        yield Finding(
            "behaviours_down", f"worded checking and planning fell by {_percent(fell)} a reply while replies grew from "
            f"{before.value:.0f} to {words.value:.0f} words", _sql("words is not null", "words desc, row_id"),
            _evidence(case, "complexity.behaviours", case.limits.behaviours), fell / case.limits.behaviours,
        )  # fmt: skip


def _selection(case: Case) -> Iterator[Finding]:
    kept, control = (case.now.get(f"selection.{name}") for name in ("quality", "quality_control"))
    wide, control_wide = (case.now.get(f"selection.{name}") for name in ("diversity", "diversity_control"))
    if kept is None or control is None or kept.value is None or control.value is None:
        return
    wider = wide is not None and control_wide is not None and _apart(wide, control_wide, 1)
    if not _apart(kept, control, 1) and not wider:
        yield Finding(
            "selection_no_better", f"kept rows have a quality of {kept.value:.3f}, as many at random {control.value:.3f}",
            _sql("decision = 'kept'"), _evidence(case, "selection.quality", None) | {"control": control.value}, 1.0,
        )  # fmt: skip


def _update(case: Case) -> Iterator[Finding]:
    one = case.now.get("training.update_kept")
    if one is not None and one.value is not None and one.value < LEAST_KEPT:
        yield Finding(
            "update_lost", f"{_percent(one.value)} of the last update is in the written weights; the limit is "
            f"{_percent(LEAST_KEPT)}", _sql("row_id is not null"), _evidence(case, "training.update_kept", LEAST_KEPT),
            2 - one.value / LEAST_KEPT,
        )  # fmt: skip


_SPECIAL: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    _large_cluster, _tag, _drift, _verifier, _reward, _behaviours, _selection, _update,
)  # fmt: skip


def _pair(case: Case, name: str) -> tuple[Measure | None, Measure | None]:
    """Both sides' number where they were made alike, or the subject's alone."""
    now, was = case.now.get(name), case.was.get(name)
    if now is not None and was is not None and now.fingerprint != was.fingerprint:
        return now, None
    return now, was


def _apart(now: Measure, was: Measure, sign: int) -> bool:
    """Whether the intervals are disjoint, `now` above (sign 1) or below (-1)."""
    a, b = (now, was) if sign > 0 else (was, now)
    return a.lo is not None and b.hi is not None and a.lo > b.hi


def _evidence(case: Case, name: str, limit: float | None) -> dict[str, float | int | str | None]:
    found: dict[str, float | int | str | None] = {}
    for prefix, side in (("", case.now), ("was.", case.was)):
        if (one := side.get(name)) is not None:
            found |= {f"{prefix}{name}": one.value, f"{prefix}{name}.lo": one.lo, f"{prefix}{name}.hi": one.hi,
                      f"{prefix}{name}.n": one.n}  # fmt: skip
    return found if limit is None else found | {"limit": limit}


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
