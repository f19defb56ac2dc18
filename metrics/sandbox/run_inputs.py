"""Runs inside the sandbox: a model's whole program, once for each input, on real standard streams. Never imported by ratoon.

What the program writes goes straight to the channel. A line of ours follows each run; a program that forges one, or ends the
process, can still only say what it printed: the next input is then given to a fresh process.
"""

import atexit
import contextlib
import gc
import json
import os
import sys
import types

job = json.load(sys.stdin)
sys.path[:0] = sys.argv[1:]
channel = os.dup(1)
nothing = os.open(os.devnull, os.O_RDWR)
os.dup2(nothing, 2)


def given(text: str) -> int:
    """An open file that holds the input, and has no name."""
    file = os.open("given", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.unlink("given")
    content = text.encode()
    while content:
        content = content[os.write(file, content) :]
    os.lseek(file, 0, os.SEEK_SET)
    return file


def run(text: str) -> str | None:
    """Run the program; what it raised, or None."""
    os.dup2(nothing, 0)  # the program before may have closed it
    os.dup2(channel, 1)
    file = given(text)
    os.dup2(file, 0)
    os.close(file)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    ours, module = sys.stdout, types.ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        exec(compile(job["code"], "<reply>", "exec"), vars(module))
        return None
    except SystemExit:
        return None
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    finally:
        atexit._run_exitfuncs()
        vars(module).clear()
        gc.collect()  # files that the program left open are written now
        for stream in (sys.stdout, ours):
            with contextlib.suppress(Exception):
                stream.flush()


for number in range(job["first"], len(job["inputs"])):
    raised = run(job["inputs"][number])
    os.write(channel, f"\n{job['mark']}{json.dumps([number, raised])}\n".encode())
os._exit(0)
