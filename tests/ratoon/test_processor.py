"""Where bfloat16 is computed and where it would be emulated."""

from __future__ import annotations

import pytest

from ratoon import processor


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
