"""Attacks on the sandbox, one property each: what model-written code tries, and what it gets."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from ratoon.metrics.sandbox import sandbox, seccomp
from ratoon.metrics.sandbox.limits import GUARDS, Limits, NoSandbox, Outcome
from ratoon.metrics.sandbox.sandbox import Work

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no sandbox: sudo apt install bubblewrap")


def attack(tmp_path: Path, code: str, limits: Limits = Limits()) -> Outcome:  # noqa: B008
    """What `code` gets to say from inside: the answer to `print`."""
    script = tmp_path / "attack.py"
    script.write_text(code)
    return sandbox.run(Work(script, None), limits)


def said(
    tmp_path: Path,
    expression: str,
    before: str = "import os, socket, ctypes",
    limits: Limits = Limits(wall_s=20),  # noqa: B008
) -> str:
    """The value of an expression inside, or the name of what it raised."""
    code = f"{before}\ntry:\n    print({expression})\nexcept BaseException as error:\n    print(type(error).__name__)\n"
    outcome = attack(tmp_path, code, limits)
    return outcome.output.decode().strip() if outcome.ended == "done" else outcome.ended


def test_ordinary_code_runs_and_may_use_threads_and_its_own_folder(tmp_path: Path) -> None:
    code = "import threading\nt = threading.Thread(target=lambda: print('in'))\nt.start(); t.join()\nopen('a', 'w').write('b')"
    assert attack(tmp_path, code) == Outcome("done", 0, b"in\n")


def test_packages_that_lie_in_the_systems_temporary_folder_are_read_and_not_written() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        packages = [Path(folder, "packages")]
        packages[0].mkdir()
        Path(folder, "packages", "ours.py").write_text("said = 'ours'")
        script = Path(folder, "script.py")
        script.write_text(
            "import sys\nsys.path.append(sys.argv[-1])\nimport ours\nprint(ours.said)\n"
            "try:\n    open(ours.__file__, 'w')\nexcept OSError as error:\n    print(type(error).__name__)\n"
        )
        outcome = sandbox.run(Work(script, None, packages, packages), Limits())
    assert outcome.output == b"ours\nOSError\n"


@pytest.mark.parametrize(
    "call",
    [
        "os.fork()",
        "os.system('true')",
        "__import__('subprocess').run(['true'])",
        "os.posix_spawn('/usr/bin/true', ['true'], {})",
    ],
)
def test_no_process_can_be_started_so_no_fork_bomb_and_no_zombie(tmp_path: Path, call: str) -> None:
    assert said(tmp_path, call) in {"PermissionError", "OSError", "BlockingIOError", "-1", "32512"}


def test_a_thread_bomb_meets_the_memory_limit(tmp_path: Path) -> None:
    code = (
        "import threading, time\nn = 0\ntry:\n    while True:\n"
        "        threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); n += 1\n"
        "except RuntimeError:\n    print(n < 100)\n"
    )
    outcome = attack(tmp_path, code)
    assert outcome.output == b"True\n" or outcome.ended == "threads"


@pytest.mark.parametrize(
    "call",
    [
        "os.memfd_create('a')",
        "ctypes.CDLL(None, use_errno=True).shmget(0, 1 << 20, 0o1600)",
        "ctypes.CDLL(None, use_errno=True).semget(0, 1, 0o1600)",
        "ctypes.CDLL(None, use_errno=True).msgget(0, 0o1600)",
        "socket.socketpair()",
    ],
)
def test_memory_that_no_limit_counts_is_refused(tmp_path: Path, call: str) -> None:
    assert said(tmp_path, call) in {"PermissionError", "-1"}


def test_there_is_no_network_not_even_to_this_machine(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_address[1]
        assert said(tmp_path, f"socket.create_connection(('127.0.0.1', {port}), 1)") == "PermissionError"
    assert said(tmp_path, "socket.socket(socket.AF_UNIX)") == "PermissionError"
    assert said(tmp_path, "open('/proc/net/dev').read().count(':')") in {"0", "1"}  # a loopback that is down, or nothing


def test_the_parents_environment_and_secrets_are_nowhere_in_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_SECRET", "s3cr3t-planted")
    code = (
        "import os\nfound = [str(dict(os.environ))]\nfor pid in os.listdir('/proc'):\n    for name in ('environ', 'cmdline'):\n"
        "        try:\n            found.append(open(f'/proc/{pid}/{name}', 'rb').read().decode(errors='replace'))\n"
        "        except OSError:\n            pass\nprint('s3c' + 'r3t' in ''.join(found), len(found) > 2)\n"
    )
    assert attack(tmp_path, code).output == b"False True\n"


def test_homes_and_the_runs_own_folder_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("planted")
    assert said(tmp_path, f"os.path.exists({str(tmp_path / 'secret.txt')!r})") == "False"
    assert said(tmp_path, f"os.path.exists({str(Path.home() / '.bashrc')!r})") == "False"
    assert said(tmp_path, "os.path.exists('/etc/passwd')") == "False"


@pytest.mark.parametrize(
    "place",
    [
        "/usr/planted",
        "/planted",
        "/etc/planted",
        "/dev/planted",
        "/dev/shm/planted",
        os.path.join(os.__file__, "..", "planted.py"),
    ],
)
def test_nothing_outside_its_own_folder_can_be_written(tmp_path: Path, place: str) -> None:
    assert said(tmp_path, f"open({place!r}, 'w')") in {"OSError", "PermissionError", "FileNotFoundError", "NotADirectoryError"}


def test_the_kernels_settings_cannot_be_written_even_where_ratoon_runs_as_root(tmp_path: Path) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    assert said(tmp_path, "open('/proc/sys/kernel/core_pattern', 'w').write('planted')") in {"OSError", "PermissionError"}
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_a_link_leads_nowhere_but_inside(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("planted")
    escape = f"os.symlink('/proc/1/root{tmp_path}/secret.txt', 'link') or open('link').read()"
    assert said(tmp_path, escape) in {"FileNotFoundError", "PermissionError"}
    assert said(tmp_path, "open('/proc/1/cwd/secret.txt').read()") in {"FileNotFoundError", "PermissionError"}


def test_memory_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    assert said(tmp_path, "len(bytearray(2**30))") == "MemoryError"


def test_a_flood_of_files_meets_the_size_of_its_folder(tmp_path: Path) -> None:
    code = (
        "n = 0\ntry:\n    while True:\n        open(f'f{n}', 'wb').write(b'x' * 2**20); n += 1\n"
        "except OSError:\n    print(n <= 16)\n"
    )
    assert attack(tmp_path, code).output == b"True\n"
    big = "try:\n    f = open('a', 'wb')\n    while True: f.write(b'x' * 2**20)\nexcept OSError:\n    print('stopped')\n"
    assert attack(tmp_path, big).output == b"stopped\n"


def test_a_flood_of_output_ends_the_program_and_is_cut(tmp_path: Path) -> None:
    outcome = attack(tmp_path, "while True: print('x' * 1000)")
    assert (outcome.ended, len(outcome.output)) == ("output", 256 * 1024)


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "while True: pass",
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
        "import os\nos.close(1)\nwhile True: pass",
    ],
)
def test_sleeping_and_spinning_end_at_the_wall_limit_and_leave_no_process(tmp_path: Path, code: str) -> None:
    before = time.monotonic()
    assert attack(tmp_path, code, Limits(wall_s=0.5)).ended == "timeout"
    assert time.monotonic() - before < 5
    assert not [p for p in psutil.Process().children(recursive=True) if p.name() == "bwrap"]


def test_signals_reach_no_process_outside(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        pids = (1, os.getpid(), bystander.pid, -1)
        attack(tmp_path, f"import os\nfor pid in {pids}:\n    try: os.kill(pid, 9)\n    except OSError: pass")
        assert bystander.poll() is None
        bystander.kill()


def test_a_program_that_is_started_instead_of_ours_is_still_nobody(tmp_path: Path) -> None:
    assert said(tmp_path, "os.execv('/usr/bin/id', ['id'])").startswith("uid=65534 gid=65534 groups=65534")


@pytest.mark.parametrize(
    "number", {"x86_64": [101, 165, 272, 308, 321, 425], "aarch64": [117, 40, 97, 268, 280, 425]}.get(os.uname().machine, [])
)
def test_calls_that_widen_a_sandbox_are_refused(tmp_path: Path, number: int) -> None:
    before = "import ctypes\ncall = ctypes.CDLL(None, use_errno=True).syscall"
    assert said(tmp_path, f"call({number}, 0x10000000, 0, 0, 0), ctypes.get_errno()", before) == "-1 1"  # EPERM


def test_many_sandboxes_at_once_keep_apart(tmp_path: Path) -> None:
    script, got = tmp_path / "say.py", dict[int, bytes]()
    script.write_text("import json, sys, os\nopen('mine', 'x').write('')\nprint(json.load(sys.stdin), os.listdir('.'))")

    def one(i: int) -> None:
        got[i] = sandbox.run(Work(script, i), Limits(wall_s=20)).output

    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {i: f"{i} ['mine']\n".encode() for i in range(8)}


def test_without_bubblewrap_nothing_is_run_and_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox.require.cache_clear()
    try:
        with pytest.raises(NoSandbox, match="bubblewrap is not installed") as told:
            attack(tmp_path, "print('ran')")
        assert told.value.hint == "sudo apt install bubblewrap"
    finally:
        sandbox.require.cache_clear()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_filter_kills_foreign_calls_first_and_allows_last(machine: str) -> None:
    program = seccomp.filter_program(machine)
    assert len(program) % 8 == 0
    assert program[-4:] == (0x7FFF0000).to_bytes(4, "little")
    assert program[2 * 8 + 4 : 3 * 8] == (0x80000000).to_bytes(4, "little")


MANY_THREADS = (
    "import threading, time\nthreading.stack_size(32768)\nfor _ in range(200):\n"
    "    threading.Thread(target=time.sleep, args=(1,), daemon=True).start()\ntime.sleep(0.5)"
)
MANY_FILES = "import time\nfor i in range(5000):\n    open(f'f{i}', 'x').close()\ntime.sleep(0.5)"
# Of each guard an expression that says True where it got what the guard keeps out, and what runs before it.
BROKEN = {
    "system only": ("__import__('os').path.exists('/root') and __import__('os').path.exists('/etc/hostname')", ""),
    "read-only": ("open('/planted', 'w').write('x') == 1", ""),
    "network": (
        "len(open('/proc/net/route').read().splitlines()) > 1 or len(__import__('os').listdir('/sys/class/net')) > 1",
        "",
    ),
    "processes": ("len([n for n in __import__('os').listdir('/proc') if n.isdigit()]) > 1", ""),
    "calls": ("__import__('os').memfd_create('a') > 0", ""),
    "memory": ("len(bytearray(2**29)) == 2**29", ""),
    "folder size": ("open('a', 'wb').write(bytes(2**25)) == 2**25", ""),
    "threads": ("True", MANY_THREADS),
    "files": ("True", MANY_FILES),
}


def test_each_guard_keeps_out_what_comes_in_without_it(tmp_path: Path) -> None:
    assert set(BROKEN) == set(GUARDS)
    limits = Limits(wall_s=20)
    for guard, (expression, before) in BROKEN.items():
        assert said(tmp_path, expression, before, limits) != "True", guard
        assert said(tmp_path, expression, before, limits._replace(without=frozenset({guard}))) == "True", guard


def test_what_a_program_says_on_its_standard_error_is_no_word_of_bubblewraps(tmp_path: Path) -> None:
    outcome = attack(tmp_path, "import os, sys\nos.write(2, b'bwrap: Creating new namespace failed')\nos._exit(1)")
    assert outcome == Outcome("done", 1, b"")


def test_bubblewraps_own_channel_is_not_open_inside(tmp_path: Path) -> None:
    # The fourth is the folder that is being listed.
    assert said(tmp_path, "sorted(map(int, os.listdir('/proc/self/fd')))") == "[0, 1, 2, 3]"
