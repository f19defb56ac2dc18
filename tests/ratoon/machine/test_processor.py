"""Where bfloat16 is computed and where it would be emulated."""

from __future__ import annotations

import pytest

from ratoon.machine import processor


@pytest.mark.parametrize(
    ("cpuinfo", "computes"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 fma avx512f avx512bw avx512dq avx512vl\n", True),
        ("processor : 0\nflags\t\t: fpu avx avx2 fma\n", False),
        ("processor : 0\nflags\t\t: fpu avx512f avx512cd\n", False),
        ("processor : 0\nFeatures\t: fp asimd bf16\n", True),
        ("processor : 0\nFeatures\t: fp asimd\n", False),
        ("processor : 0\nflags :\n", True),
        ("", True),
    ],
)
def test_avx512_or_arms_own_instructions_compute_bfloat16_and_a_cpu_that_says_nothing_is_trusted(
    cpuinfo: str, computes: bool
) -> None:
    assert processor.flags_allow(cpuinfo) is computes


@pytest.mark.parametrize("computes", [True, False])
def test_bfloat16_is_computed_in_float32_only_on_a_cpu_that_would_emulate_it(
    computes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "computes_bfloat16", lambda: computes)
    assert [processor.computed_in(d, on_cpu=False) for d in ("bfloat16", "auto", "float16")] == ["bfloat16", "auto", "float16"]
    assert processor.computed_in("float16", on_cpu=True) == "float16"
    assert processor.computed_in("bfloat16", on_cpu=True) == ("bfloat16" if computes else "float32")
    assert processor.computed_in("auto", on_cpu=True) == ("auto" if computes else "float32")
