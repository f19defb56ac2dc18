"""What `report.json` of an audit holds: its version, and the type of every part. Types only; nothing here computes or reads.

Every value is JSON: unknown is null, never 0. Texts are as they were written, control characters and markup included: whoever
shows them escapes them. A section that could not be computed is null, and `not_computed` says why and what would mend it.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

FORMAT = "ratoon-audit/1"
MOST_ROWS = 2_000  # rows a report carries with their texts
MOST_IDS = 50  # evidence rows of one warning
CUT = 4_000  # characters of a text that a report carries
RUN_ONLY = ("funnel", "iterations")  # sections that only a run can have
# What sections are called where people read of them.
TITLES = {
    "iterations": "rounds", "plane": "quality and diversity", "passes": "pass rate and agreement", "twins": "rejected twins",
}  # fmt: skip

Axis = Literal["quality", "diversity", "complexity"]
Severity = Literal["stop", "warn", "note"]
SEVERITIES: tuple[Severity, ...] = ("stop", "warn", "note")


class Number(TypedDict):
    """One number with what it takes to trust it. `sql` gives it once more from `metrics.parquet`; null where SQL cannot."""

    value: float | None
    lo: float | None
    hi: float | None
    n: int
    metric: str
    version: str
    params: dict[str, Any]
    iteration: int | None
    sql: str | None


class Subject(TypedDict):
    """What was audited: `rows` it has, `sampled` of them embedded; of a file its columns, and how it was read."""

    kind: Literal["run", "dataset", "file", "folder"]
    name: str
    rows: int
    tasks: int | None
    sampled: int
    columns: dict[str, str] | None
    digest: str
    reading: str | None


class Verdict(TypedDict):
    """One headline. `was` is the other side's (or the round before's), `control` that of as many rows at random."""

    axis: Axis
    metric: str
    value: float
    lo: float | None
    hi: float | None
    n: int
    was: float | None
    arrow: Literal["up", "down", "same"] | None
    control: float | None
    light: Literal["ok", "warn", "stop"] | None
    words: str


class Warn(TypedDict):
    """One thing that is wrong. `sql` runs with `ratoon sql metrics.parquet`; `evidence` are the numbers behind it."""

    code: str
    severity: Severity
    message: str
    action: str
    sql: str
    row_ids: list[str]
    evidence: dict[str, Any]


class Dropped(TypedDict):
    reason: str
    rows: int


class Stage(TypedDict):
    """A step of the funnel: `rows` that left it and what it dropped by reason; tokens and cost where they are known."""

    stage: str
    rows: int
    dropped: list[Dropped]
    tokens: int | None
    cost: float | None


class Point(TypedDict):
    iteration: int
    policy: str | None
    value: float
    lo: float | None
    hi: float | None
    n: int


class Series(TypedDict):
    """One metric over the rounds; `unit` is "share", "count", "tokens", or "" for a number of its own kind."""

    metric: str
    unit: str
    points: list[Point]


class Levels(TypedDict):
    """Alpha (within tasks), beta (between tasks) and gamma (whole), one number a round, oldest first."""

    alpha: list[Number]
    beta: list[Number]
    gamma: list[Number]


class PlanePoint(TypedDict):
    """A candidate subset: quality `x`, diversity `y`. A control's name is that of the setting whose size it has."""

    name: str
    kind: Literal["setting", "chosen", "control"]
    x: float
    y: float
    x_lo: float | None
    x_hi: float | None
    y_lo: float | None
    y_hi: float | None
    n: int
    complexity: float | None
    front: bool


class Plane(TypedDict):
    x: str
    y: str
    points: list[PlanePoint]
    hypervolume: float | None


class MapPoint(TypedDict):
    """A row on the frozen plane; `side` tells the subject from what it is compared with."""

    row_id: str
    x: float
    y: float
    cluster: int
    iteration: int | None
    quality: float | None
    difficulty: float | None
    side: Literal["subject", "against"]


class MapCluster(TypedDict):
    cluster: int
    label: str
    n: int
    x: float
    y: float


class Map(TypedDict):
    """`explained` is the share of the variance on each axis: distances on the plane are no evidence."""

    points: list[MapPoint]
    clusters: list[MapCluster]
    explained: list[float]
    n: int
    fitted_on: str


class Occupancy(TypedDict):
    """A region's share of rows, now and on the other side."""

    cluster: int
    label: str
    now: float
    was: float


class Test(TypedDict):
    """`p` is of a permutation test where there is one; `unit` is "auc", "mmd2", "psi" or "nats"."""

    name: str
    value: float
    lo: float | None
    hi: float | None
    p: float | None
    n: int
    unit: str


class RegionRow(TypedDict):
    row_id: str
    text: str
    similarity: float | None


class Drift(TypedDict):
    """`lost`: rows of the other side without a neighbour here; `new`: rows here without one there; farthest first."""

    clusters: list[Occupancy]
    tests: list[Test]
    lost: list[RegionRow]
    new: list[RegionRow]
    lost_share: float | None
    new_share: float | None


class Bin(TypedDict):
    """Groups whose pass rate lies in [lo, hi), by how many rollouts agree (consensus_bin 0..4, fifths; null: no vote)."""

    lo: float
    hi: float
    groups: int
    consensus_bin: int | None


class Corner(TypedDict):
    """A group that no rollout passed although its rollouts agree: the answer key or the verifier may be wrong."""

    task_id: str
    prompt: str
    gold: str | None
    consensus: str | None
    share: float
    pass_rate: float
    n: int


class Passes(TypedDict):
    bins: list[Bin]
    corner: list[Corner]


class Gram(TypedDict):
    """A run of words: in how many rows, and their share."""

    text: str
    count: int
    share: float


class Opening(TypedDict):
    word: str
    rows: int
    next: list[Opening]


class VerbNoun(TypedDict):
    verb: str
    noun: str
    rows: int


class Neighbours(TypedDict):
    """The share of rows whose nearest neighbour is at least that similar."""

    similarity: float
    share: float | None


class Repetition(TypedDict):
    ngrams: list[Gram]
    openings: list[Opening]
    verb_nouns: list[VerbNoun]
    neighbour_curve: list[Neighbours]


class Correlations(TypedDict):
    """Spearman's, and the same with length taken out of both columns; null where a column is constant."""

    names: list[str]
    raw: list[list[float | None]]
    partial: list[list[float | None]]
    n: int


class Examples(TypedDict):
    """Row ids. `by` says what best and worst are of."""

    best: list[str]
    worst: list[str]
    random: list[str]
    borderline: list[str]
    by: str | None


class Twin(TypedDict):
    """A pair: the one that was dropped (or would be) and the one it resembles."""

    rejected: str
    kept: str
    kind: Literal["exact", "minhash", "semantic"]
    similarity: float


class Fact(TypedDict):
    name: str
    value: str


class Sections(TypedDict):
    funnel: list[Stage] | None
    iterations: list[Series] | None
    levels: Levels | None
    plane: Plane | None
    map: Map | None
    drift: Drift | None
    passes: Passes | None
    repetition: Repetition | None
    correlations: Correlations | None
    examples: Examples | None
    twins: list[Twin] | None
    provenance: list[Fact]


class Row(TypedDict):
    """A row some section points to. `cut`: its text was longer than CUT characters. `side` as on the map."""

    row_id: str
    side: Literal["subject", "against"]
    prompt: str | None
    completion: str | None
    task_id: str | None
    iteration: int | None
    reward: float | None
    pass_rate: float | None
    tokens: int | None
    decision: Literal["kept", "dropped"] | None
    reason: str | None
    cluster: int | None
    cut: bool


class NotComputed(TypedDict):
    what: str
    why: str
    mend: str


class Report(TypedDict):
    format: str
    title: str
    ratoon: str
    seed: int
    subject: Subject
    against: Subject | None
    verdict: list[Verdict]
    warnings: list[Warn]
    numbers: dict[str, Number]
    sections: Sections
    rows: list[Row]
    not_computed: list[NotComputed]
