"""Every error a user can meet; nothing here knows how it is printed.

    RatoonError                 exit 1
    ├── UsageError              exit 2   (also a ValueError: a value the user gave)
    │   ├── ConfigError                  a recipe, a flag or a --set
    │   ├── DataError                    a table, a file or a column map
    │   ├── SqlError                     a query that is no single SELECT
    │   └── Unlike                       two measures that were not made alike
    ├── MissingExtra            exit 1   a package that an extra installs
    ├── StoreError              exit 1
    │   ├── CorruptPart                  a part that is not what its manifest says
    │   ├── RunLocked                    another process writes this run
    │   ├── SchemaMismatch               a run of another schema version
    │   └── Conservation                 rows planned ≠ out + dropped + failed
    ├── ModelError              exit 1   no folder, no chat template, unlike digests
    ├── EngineError             exit 1
    │   ├── EngineDead                   died, was rebuilt once, died again
    │   ├── NotServed                    servers answer, and none serves the policy
    │   └── Unsupported                  this engine has no such ability
    ├── TrainError              exit 1
    └── Stopped                 exit 3   a budget, gate or rule said stop
        ├── BudgetSpent                  a limit of [budget]
        ├── Refused                      the training gate, for one of its reasons
        └── Interrupted         exit 128 + signal: SIGINT or SIGTERM said stop

A message says what happened and the value; `hint` says which field or command mends it.
"""

from __future__ import annotations


class RatoonError(Exception):
    """A failure the user can act on: `message` is what happened, `hint` what mends it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.message, self.hint)


class UsageError(RatoonError, ValueError):
    """A value the user gave cannot be used."""

    exit_code = 2


class ConfigError(UsageError):
    """A recipe, flag or `--set` that names no field or holds an impossible value."""


class DataError(UsageError):
    """A table, file or column map that does not hold what it must."""


class SqlError(UsageError):
    """A query that is not exactly one SELECT, or that DuckDB refuses."""


class Unlike(UsageError):
    """Two measures that cannot be compared: another version, model, kernel or sample size."""


class MissingExtra(RatoonError):
    """A package is missing; the hint is the pip command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"the package {package!r} is not installed", f"pip install 'ratoon[{extra}]'")
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.package, self.extra)


class StoreError(RatoonError):
    """The run folder cannot be read or written as it must."""


class CorruptPart(StoreError):
    """A part on disk is not what its manifest says."""


class RunLocked(StoreError):
    """Another process writes this run."""


class SchemaMismatch(StoreError):
    """The run was written by another schema version."""


class Conservation(StoreError):
    """Rows planned are not rows out + dropped + failed."""


class ModelError(RatoonError):
    """A model folder that is missing, incomplete or not the one expected."""


class EngineError(RatoonError):
    """An engine cannot be opened or cannot answer."""


class EngineDead(EngineError):
    """The engine died, was rebuilt once and died again."""


class NotServed(EngineError):
    """No server serves the policy; `hint` has what serves it."""


class Unsupported(EngineError):
    """This engine has no such ability."""


class TrainError(RatoonError):
    """Training could not be started or did not finish."""


class Stopped(RatoonError):
    """A budget, gate or rule stopped the run; what is done is kept."""

    exit_code = 3


class BudgetSpent(Stopped):
    """A limit of `[budget]` stopped the run."""


class Refused(Stopped):
    """The training gate refused a round's dataset."""


class Interrupted(Stopped):
    """A signal stopped the run; what was in flight is finished and kept."""

    def __init__(self, message: str, hint: str = "", signal: int = 2) -> None:
        super().__init__(message, hint)
        self.signal = signal
        self.exit_code = 128 + signal

    def __reduce__(self) -> tuple[type, tuple[str, str, int]]:  # type: ignore[override]
        return type(self), (self.message, self.hint, self.signal)
