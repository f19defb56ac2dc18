"""What the processor can compute in, by the flags it shows; imports nothing heavy.

PyTorch's CPU kernels compute bfloat16 where the processor has AVX-512 (or ARM's own instructions). Elsewhere they emulate it,
at a fraction of the speed of float32, which holds every bfloat16 number exactly.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

_AVX512 = {"avx512bw", "avx512dq", "avx512vl"}


@lru_cache(maxsize=1)
def computes_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16 at full speed; true where it does not say."""
    try:
        shown = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return flags_allow(shown)


def flags_allow(cpuinfo: str) -> bool:
    """The same by the text of /proc/cpuinfo: AVX-512's common subset on x86, `bf16` on ARM.

    >>> flags_allow("flags : fpu avx2 fma")
    False
    """
    lines = [line for line in cpuinfo.splitlines() if line.startswith(("flags", "Features"))]
    flags = set(lines[0].partition(":")[2].split()) if lines else set()
    return not flags or flags >= _AVX512 or "bf16" in flags


def computed_in(dtype: str, *, on_cpu: bool) -> str:
    """The type an engine holds a model in: float32 for a bfloat16 (or `auto`) that a CPU would emulate, else `dtype`."""
    emulated = on_cpu and dtype in ("bfloat16", "auto") and not computes_bfloat16()
    return "float32" if emulated else dtype
