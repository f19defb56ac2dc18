"""Whether two parsed answers are equal: math-verify's verdict, taken back where the values surely differ; in bounded CPU time.

math-verify compares to so many decimals, so that all tiny numbers are one (`2^{-98}`, `2^{-99}`). Exact values must be equal
here, a decimal may differ from an exact value by at most half a percent (beside the rounding that the library asks for).
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

_EXACT_DIGITS = 30
_ZERO = 1e-50
_AGAIN_S = 0.05


class TooLong(BaseException):
    """The CPU time is up. No `Exception`: the libraries catch those and go on."""


@contextlib.contextmanager
def within(cpu_s: float) -> Iterator[None]:
    """Raise TooLong after so many seconds of this process's own CPU time; without effect outside the main thread.

    CPU time, not wall time: the verdict of a slow comparison must not depend on what else the machine does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _stop(number: int, frame: object) -> None:
    raise TooLong


def surely_differ(gold: Sequence[Any], said: Sequence[Any]) -> bool:
    """Whether every pair of readings differs in value; False wherever that cannot be shown."""
    return all(_differ(one, other) for one in gold for other in said)


def _differ(one: Any, other: Any) -> bool:
    import sympy

    one, other = _right_side(one), _right_side(other)
    if isinstance(one, sympy.FiniteSet) and isinstance(other, sympy.FiniteSet):
        return any(all(_differ(a, b) for b in other.args) for a in one.args)
    if not all(isinstance(x, sympy.Expr) and x.is_number and not x.has(sympy.UnevaluatedExpr) for x in (one, other)):
        return False
    try:
        return _values_differ(one.doit(), other.doit(), sympy)
    except (ArithmeticError, ValueError, TypeError, AttributeError):
        return False


def _right_side(expression: Any) -> Any:
    """`x = 3` is compared as 3."""
    import sympy

    return expression.rhs if isinstance(expression, sympy.Eq) and expression.lhs.is_Symbol else expression


def _values_differ(one: Any, other: Any, sympy: Any) -> bool:
    if one.is_Rational and other.is_Rational:
        return bool(one != other)
    a, b = one.evalf(_EXACT_DIGITS), other.evalf(_EXACT_DIGITS)
    size = abs(a)
    if max(size, abs(b)) < _ZERO:
        return False
    decimal = one.has(sympy.Float) or other.has(sympy.Float)
    return bool(abs(a - b) > (sympy.Rational(1, 200) if decimal else sympy.Float(1e-12)) * size)
