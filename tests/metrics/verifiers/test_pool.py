import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratoon.errors import UsageError
from ratoon.metrics.verifiers.pool import Item, VerifierPool

MODULE = '''
import ctypes, os, subprocess, time

def act(text, answer, args):
    """What the reply says, done."""
    if text == "sleep": time.sleep(600)
    if text == "spin":
        while True: pass
    if text == "exit": os._exit(3)
    if text == "segfault": ctypes.string_at(0)
    if text == "hog": return len([0] * 10**10) > 0
    if text == "raise": raise KeyError("boom")
    if text == "surrogate": raise ValueError("\\ud800")
    if text == "leave": raise SystemExit(1)
    if text == "child": subprocess.Popen(["sleep", "86399"]); time.sleep(600)
    if text.startswith("pid"): open(text[4:], "w").write(str(os.getpid())); time.sleep(600)
    return None if text == "abstain" else text == answer
'''


@pytest.fixture(scope="module")
def act(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside_verifier.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    import outside_verifier

    yield outside_verifier.act
    sys.path.remove(str(folder))


def test_verdicts_come_in_the_order_of_the_items() -> None:
    items = [Item("numeric", f"so {i}", str(i if i % 3 else i + 1), {}) for i in range(1000)]
    with VerifierPool(2) as pool:
        assert [v.status for v in pool.run(items)] == ["pass" if i % 3 else "fail" for i in range(1000)]
        assert pool.run([]) == []


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("exit", "worker died"),
        ("segfault", "worker died"),
        ("hog", "MemoryError"),
        ("raise", "KeyError: 'boom'"),
        ("leave", "SystemExit: 1"),
        ("surrogate", "ValueError: \ufffd (lone surrogates replaced)"),
    ],
)
def test_a_crash_costs_its_own_item_only(act: object, text: str, detail: str) -> None:
    items = [Item("act", "7", "7", {})] * 20 + [Item("act", text, "7", {})] + [Item("act", "7", "8", {})] * 20
    with VerifierPool(1, extra={"act": act}) as pool:
        verdicts = pool.run(items)
    assert [v.status for v in verdicts] == ["pass"] * 20 + ["error"] + ["fail"] * 20
    assert verdicts[20].detail is not None
    assert verdicts[20].detail.startswith(detail)


@pytest.mark.parametrize("text", ["sleep", "spin"])
def test_a_hanging_item_is_killed_and_the_others_are_judged(act: object, text: str) -> None:
    items = [Item("act", text if i in (0, 7, 8, 29) else "7", "7", {}) for i in range(30)]
    with VerifierPool(2, 0.2, extra={"act": act}) as pool:
        verdicts = pool.run(items)
    assert [i for i, v in enumerate(verdicts) if v.status == "error"] == [0, 7, 8, 29]
    assert {v.detail for v in verdicts if v.status == "error"} == {"timeout after 0.2 s"}
    assert sum(v.status == "pass" for v in verdicts) == 26


def test_the_clock_starts_with_each_item_and_not_with_the_batch(tmp_path: Path) -> None:
    (tmp_path / "slow_verifier.py").write_text("import time\ndef slow(t, a, g): time.sleep(0.06); return True\n")
    sys.path.insert(0, str(tmp_path))
    import slow_verifier

    with VerifierPool(1, 0.5, extra={"slow": slow_verifier.slow}) as pool:
        assert {v.status for v in pool.run([Item("slow", "", None, {})] * 12)} == {"pass"}
    sys.path.remove(str(tmp_path))


def test_consecutive_hangs_are_shared_among_the_workers(act: object) -> None:
    items = [Item("act", "sleep", "7", {})] * 8 + [Item("act", "7", "7", {})] * 200
    with VerifierPool(2, 0.5, extra={"act": act}) as pool:
        pool.run(items[-1:])
        start = time.monotonic()
        pool.run(items)
    assert time.monotonic() - start < 8 * 0.5  # what one worker alone would need at least


def test_a_killed_worker_takes_its_own_children_along(act: object) -> None:
    with VerifierPool(1, 0.3, extra={"act": act}) as pool:
        pool.run([Item("act", "child", "7", {})])
        assert not any(_commands("sleep 86399"))


def _commands(wanted: str) -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_text().replace("\0", " ").strip()
            if command == wanted:
                yield command


def test_no_worker_outlives_the_pool(act: object) -> None:
    with VerifierPool(2, extra={"act": act}) as pool:
        pool.run([Item("act", "7", "7", {})])
        pids = pool.pids()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_no_worker_outlives_a_caller_that_was_killed(tmp_path: Path) -> None:
    import signal
    import subprocess

    (tmp_path / "outside_verifier_2.py").write_text(MODULE)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import outside_verifier_2 as o\nfrom ratoon.metrics.verifiers.pool import *\n"
        f"VerifierPool(1, 600, extra={{'act': o.act}}).run([Item('act', 'pid {tmp_path}/pid', None, {{}})])\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    worker = int((tmp_path / "pid").read_text())
    os.kill(caller.pid, signal.SIGKILL)
    caller.wait()
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_pool_serves_many_threads() -> None:
    results: dict[int, list[str]] = {}
    with VerifierPool(2) as pool:

        def ask(n: int) -> None:
            results[n] = [v.answer or "" for v in pool.run([Item("numeric", str(n), "1", {})] * 50)]

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {n: [str(n)] * 50 for n in range(6)}


def test_a_pool_can_be_used_again_after_a_refused_call() -> None:
    with VerifierPool(1) as pool:
        with pytest.raises(UsageError, match="did you mean 'numeric'"):
            pool.run([Item("nummeric", "7", "7", {})])
        assert pool.run([Item("numeric", "7", "7", {})])[0].status == "pass"


def test_bad_arguments_are_an_error_and_no_verdict_on_the_policy() -> None:
    with VerifierPool(1) as pool:
        verdict = pool.run([Item("numeric", "7", "7", {"extract": "first"})])[0]
    assert verdict.status == "error"
    assert verdict.detail is not None
    assert verdict.detail.startswith("ConfigError")


def test_a_function_that_workers_cannot_import_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be sent to worker processes"):
        VerifierPool(1, extra={"mine": lambda text, answer, args: True})
    with pytest.raises(UsageError, match="taken by a built-in"):
        VerifierPool(1, extra={"exact": len})


@pytest.mark.parametrize(("workers", "timeout_s"), [(0, 1), (1, 0), (-1, 1)])
def test_an_impossible_pool_is_refused(workers: int, timeout_s: float) -> None:
    with pytest.raises(ValueError):
        VerifierPool(workers, timeout_s)


def test_workers_import_neither_torch_nor_arrow(tmp_path: Path) -> None:
    (tmp_path / "what_is_loaded.py").write_text(
        "import sys\nfrom ratoon.metrics.verifiers.verdict import Verdict\nHEAVY = ('torch', 'pyarrow', 'prefect')\n"
        "def loaded(t, a, g): return Verdict('pass', 1.0, ','.join(m for m in HEAVY if m in sys.modules))\n"
    )
    sys.path.insert(0, str(tmp_path))
    import what_is_loaded

    with VerifierPool(1, extra={"loaded": what_is_loaded.loaded}) as pool:
        assert pool.run([Item("loaded", "", None, {})])[0].answer == ""
    sys.path.remove(str(tmp_path))


def test_a_verifier_of_an_outside_package_is_found_by_its_entry_point(tmp_path: Path) -> None:
    info = tmp_path / "tidy_verifier-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tidy-verifier\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ratoon.verifiers]\npalindrome = tidy_verifier:verify\n")
    (tmp_path / "tidy_verifier.py").write_text("def verify(text, answer, args):\n    return text == text[::-1]\n")
    sys.path.insert(0, str(tmp_path))
    with VerifierPool(1) as pool:
        assert [v.status for v in pool.run([Item("palindrome", t, None, {}) for t in ("abba", "abc")])] == ["pass", "fail"]
        assert pool.version("palindrome").startswith("u")
    sys.path.remove(str(tmp_path))


def test_a_death_of_the_process_that_starts_the_workers_costs_no_verdict(act: object) -> None:
    mothers: list[int] = []
    with VerifierPool(2, 5.0, extra={"act": act}, on_start=mothers.append) as pool:
        assert [v.status for v in pool.run([Item("act", "yes", "yes", {})])] == ["pass"]
        os.kill(mothers[0], 9)
        items = [Item("act", text, "yes", {}) for text in ("yes", "exit", "no")]  # a new worker is wanted, and nobody forks it
        assert [v.status for v in pool.run(items)] == ["pass", "error", "fail"]
    assert len(mothers) == 2
