"""The system-call filter of the sandbox, as the classic BPF program that bubblewrap loads; knows numbers, no process.

What model-written code has no business with is refused: processes (threads are allowed), sockets, memory that no limit counts,
namespaces, mounts, tracing, keys, kernel modules, clocks, io_uring. Numbers are those of the kernel's tables
(`asm/unistd.h`); seccomp(2) gives the layout.
"""

from __future__ import annotations

import errno
import platform
import struct

_LOAD, _JUMP_EQUAL, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NR, _ARCH, _ARG0 = 0, 4, 16
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _NO_SUCH_CALL = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000

# Numbers that x86_64 and aarch64 share: pidfds, io_uring, the new mount interface, memfd_secret.
_SHARED = (424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 442, 443, 447)
_CLONE3 = 435  # its flags lie in memory, which a filter cannot read; libc falls back to clone
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_REFUSED = {
    "x86_64": (
        41, 53,  # socket, socketpair
        319, 29, 64, 68, 240,  # memfd_create, shmget, semget, msgget, mq_open: memory that no limit counts
        57, 58,  # fork, vfork
        101, 310, 311, 312,  # ptrace, process_vm_readv, process_vm_writev, kcmp
        154, 172, 173, 135,  # modify_ldt, iopl, ioperm, personality
        155, 161, 165, 166, 272, 308,  # pivot_root, chroot, mount, umount2, unshare, setns
        159, 164, 227, 305,  # adjtimex, settimeofday, clock_settime, clock_adjtime
        163, 167, 168, 169, 179,  # acct, swapon, swapoff, reboot, quotactl
        175, 176, 313, 246, 320,  # init_module, delete_module, finit_module, kexec_load, kexec_file_load
        248, 249, 250,  # add_key, request_key, keyctl
        298, 300, 303, 304, 321, 323,  # perf_event_open, fanotify_init, *_handle_at, bpf, userfaultfd
    ),
    "aarch64": (
        198, 199, 279, 194, 190, 186, 180,
        117, 270, 271, 272, 92, 41, 51, 40, 39, 97, 268, 171, 170, 112, 266, 89, 224, 225, 142, 60,
        105, 106, 273, 104, 294, 217, 218, 219, 241, 262, 264, 265, 280, 282,
    ),
}  # fmt: skip


def filter_program(machine: str = "") -> bytes:
    """The filter for `machine` (default: this one). Raises KeyError for an architecture whose numbers are not known here."""
    machine = machine or platform.machine()
    refused = (*_REFUSED[machine], *_SHARED)
    program = [
        _step(_LOAD, _ARCH),
        _step(_JUMP_EQUAL, _AUDIT[machine], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NR),
        _step(_JUMP_GE, _X32, 0, 1),
        _step(_RETURN, _KILL),
        _step(_JUMP_EQUAL, _CLONE3, 0, 1),
        _step(_RETURN, _NO_SUCH_CALL),
    ]
    for number in refused:
        program += [_step(_JUMP_EQUAL, number, 0, 1), _step(_RETURN, _REFUSE)]
    program += [
        _step(_JUMP_EQUAL, _CLONE[machine], 0, 3),
        _step(_LOAD, _ARG0),
        _step(_JUMP_SET, _CLONE_THREAD, 1, 0),
        _step(_RETURN, _REFUSE),
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(program)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One `struct sock_filter`."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
