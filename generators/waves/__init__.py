"""The rules by which a round asks some of its tasks again; each looks at groups and names tasks, none asks.

Adding one: its file (a frozen config tagged by `kind`, and a function from groups to `Again`), one line here, its test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ratoon.config import one_of
from ratoon.generators.waves import failed_again
from ratoon.generators.waves.rule import WaveRule

WAVES: dict[str, WaveRule] = {
    "failed_again": WaveRule(failed_again.FailedAgainConfig, failed_again.failed_again),
}

if TYPE_CHECKING:
    WaveConfig: TypeAlias = Any
else:
    WaveConfig = one_of([rule.config for rule in WAVES.values()], "kind")
