"""Programs that do not add, and do what they can to pass for one that does; a naive judge in one namespace shows what for."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ratoon.metrics.sandbox import sandbox
from ratoon.metrics.sandbox.limits import Limits
from ratoon.metrics.sandbox.sandbox import Work
from ratoon.metrics.verifiers.code import verify
from ratoon.metrics.verifiers.verdict import Verdict

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no sandbox: sudo apt install bubblewrap")
TESTS = [
    "assert add(2, 3) == 5",
    "assert math.isclose(add(0.5, 0.25), 0.75)",
    "assert all(add(i, 1) == i + 1 for i in range(4))",
    "assert len(add([1], [2])) == 2 and sorted(add([2], [1])) == [1, 2]",
    "assert abs(add(1.5, 1) - 2.5) < 1e-6",
    "assert add('a', 'b') in ('ab',) and isinstance(add(1, 1), int) and bool(add(1, 1))",
]
ARGS = {"tests": TESTS, "setup": "import math", "timeout_s": 20.0}
WRONG = "\ndef add(a, b): return 7\n"
# An object that answers every question with yes.
YES = "class Yes{base}:\n    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __contains__ = lambda *a: True\n"
YES += "    __sub__ = __rsub__ = __abs__ = __iter__ = lambda self, *a: self\n    __hash__ = lambda self: 1\n"
YES += "    __bool__ = lambda self: True\n    __len__ = lambda self: 2\n    __float__ = lambda self: 0.75\n{more}"
GIVES_YES = "\ndef add(a, b): return Yes()\n"
BUILTINS = ("all", "len", "abs", "bool", "sorted", "isinstance", "range")
REPLIES = ('["value", 5, []]', '[0, "pass", ""]', '["ready"]', '["end"]', "[" * 5000)
ATTACKS = {
    "right by nothing": WRONG,
    **{f"patches {name}": f"import builtins\nbuiltins.{name} = lambda *a, **k: True" + WRONG for name in BUILTINS},
    **{f"shadows {name}": f"{name} = lambda *a, **k: True" + WRONG for name in ("all", "len", "sorted", "isinstance")},
    "patches isclose": "import math\nmath.isclose = lambda *a, **k: True" + WRONG,
    "replaces math": "import sys, types\nmath = sys.modules['math'] = types.SimpleNamespace(isclose=lambda *a: True)" + WRONG,
    "patches everything": "import builtins, math\nmath.isclose = builtins.all = builtins.bool = builtins.isinstance = "
    "lambda *a, **k: True\nbuiltins.len = lambda x: 2\nbuiltins.sorted = lambda x: [1, 2]\n"
    + YES.format(base="", more="")
    + GIVES_YES,
    "shadows the comparison": "_same_within_tolerance = same = near = lambda *a: True" + WRONG,
    "yes": YES.format(base="", more="") + GIVES_YES,
    **{f"yes as {base}": YES.format(base=f"({base})", more="") + GIVES_YES for base in ("int", "float", "str", "list", "dict")},
    "lies about its class": YES.format(base="", more="    __class__ = int\n") + GIVES_YES,
    "yes by another way": "import unittest.mock\ndef add(a, b): return unittest.mock.ANY\n",
    "os._exit": "import os\nos._exit(0)",
    "exits in a call": "import os\ndef add(a, b): os._exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "exits politely in a call": "def add(a, b): raise SystemExit(0)",
    "interrupts": "def add(a, b): raise KeyboardInterrupt",
    "stops the iteration": "def add(a, b): raise StopIteration",
    "is no assertion": "class AssertionError(Exception): pass\ndef add(a, b): raise AssertionError",
    "crashes": "import ctypes\ndef add(a, b): ctypes.string_at(0)",
    "aborts": "import os\ndef add(a, b): os.abort()",
    **{
        f"writes {number} everywhere": f"import os\nsaid = {said!r}.encode() + b'\\n'\nfor i in range(64):\n"
        "    for _ in range(3):\n        try: os.write(i, said)\n        except OSError: 0" + WRONG
        for number, said in enumerate(REPLIES)
    },
    "forges bubblewrap's complaint": "import os\nos.write(2, b'bwrap: No permissions')\nos._exit(1)",
    "forges bubblewrap's status": "import os\nfor i in range(64):\n    try: os.write(i, b'{\"exit-code\": 0}\\n')\n"
    "    except OSError: 0\nos._exit(0)",
    "searches the heap": "import gc\ndef add(a, b): return next((o['expected'] for o in gc.get_objects() if type(o) is dict "
    "and 'expected' in o), 7)",
    "searches the stack": "import sys\ndef add(a, b):\n    frame = sys._getframe()\n    while frame:\n"
    "        for name in ('want', 'expected', 'right', 'tests'):\n"
    "            if name in frame.f_locals: return frame.f_locals[name]\n        frame = frame.f_back\n    return 7",
    "reads its own memory": "def add(a, b):\n    return 5 if 'add(2, 3) == 5' in open('/proc/self/cmdline').read() else 7",
    "reads other processes": "import os\nseen = ''.join(open(f'/proc/{p}/cmdline').read() for p in os.listdir('/proc') "
    "if p.isdigit())\ndef add(a, b): return 5 if '== 5' in seen else 7",
    "reads the job": "import os\ndef add(a, b):\n    os.lseek(0, 0, 0)\n    return 5 if b'== 5' in os.read(0, 9999) else 7",
    "patches json": "import json\njson.dumps = lambda *a, **k: '[\"value\", 5, []]'" + WRONG,
    "patches write": "import os\nreal = os.write\nos.write = lambda fd, said: real(fd, b'[\"value\", 5, []]\\n') and len(said)"
    + WRONG,
    "patches the values": "import values\nvalues.encode = lambda *a: 5\nvalues.decode = lambda *a: 5" + WRONG,
    "patches its own side": "import sys\nside = sys.modules['__main__']\nside.encode = lambda *a: 5\nside.called = lambda *a: "
    "['value', 5, []]" + WRONG,
    "patches eval": "import builtins\nbuiltins.eval = builtins.exec = lambda *a: 5" + WRONG,
    "traces": "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)" + WRONG,
    "waits for the end": "import atexit, os\natexit.register(os._exit, 0)" + WRONG,
    "runs beside": "import threading, os\ndef noise():\n    while True:\n        for i in range(3, 9):\n"
    "            try: os.write(i, b'[\"value\", 5, []]\\n')\n            except OSError: 0\n"
    "threading.Thread(target=noise, daemon=True).start()" + WRONG,
    "changes what it is given": "def add(a, b):\n    if type(a) is list: a[:] = [1, 2]; b[:] = []\n    return a",
    "gives endless values": "import itertools\ndef add(a, b): return itertools.count()",
    "gives a huge text": "def add(a, b): return 'x' * 10**8",
    "gives a deep list": "def add(a, b):\n    x = []\n    for _ in range(10**5): x = [x]\n    return x",
    "gives itself": "def add(a, b):\n    x = []\n    x.append(x)\n    return x",
    "gives a huge number": "def add(a, b): return 10**10**5",
    "gives nan": "def add(a, b): return float('nan')",
    "gives its name": "def add(a, b): return add",
}
NAIVE = """
import json, sys
job = json.load(sys.stdin)
names = {"__name__": "reply"}
try:
    exec(job["setup"], names)
    exec(job["code"], names)
    for test in job["tests"]:
        exec(test, names)
    print("pass")
except BaseException:
    print("fail")
"""


def test_a_right_program_passes_these_tests() -> None:
    assert verify("```python\ndef add(a, b): return a + b\n```", None, ARGS)[:2] == ("pass", 1.0)


def test_none_of_sixty_attacks_passes_and_none_is_an_error() -> None:
    assert len(ATTACKS) >= 60

    def judged(code: str) -> Verdict:
        return verify(f"```python\n{code}\n```", None, ARGS | {"timeout_s": 5.0})

    with ThreadPoolExecutor(4) as pool:
        verdicts = dict(zip(ATTACKS, pool.map(judged, ATTACKS.values()), strict=True))
    assert {name: verdict for name, verdict in verdicts.items() if verdict.status != "fail"} == {}


@pytest.mark.parametrize("name", ["patches everything"])
def test_a_judge_in_the_programs_own_namespace_is_cheated(tmp_path: Path, name: str) -> None:
    (tmp_path / "naive.py").write_text(NAIVE)
    job = {"code": ATTACKS[name], "tests": TESTS, "setup": "import math"}
    assert sandbox.run(Work(tmp_path / "naive.py", job), Limits(wall_s=20)).output == b"pass\n"
