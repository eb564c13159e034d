"""
Rows for a host without Landlock's scopes: calls that reach a process outside the jail.

What the filter can see is refused there. It cannot see ``/proc/PID/mem`` being opened:
which process a path leads to is not in a register.
"""

from __future__ import annotations

from errno import ENOSYS, EPERM

from msgspec.structs import replace

from netjail.syscalls.rows import ALLOW, TRACE, Action, Clause, Compare, Condition, Kind, Row, Shape

REACH = "it reaches into processes and namespaces outside the jail"
_OWNER = "it has the kernel signal others; F_SETOWN with a process of the jail works"

# F_SETOWN and F_SETOWN_EX of asm-generic/fcntl.h; FIOSETOWN and SIOCSPGRP of asm/sockios.h.
_SETOWN = (Clause((Condition(1, Compare.IN, values=(8,)),)),)
_SETOWN_EX = (Clause((Condition(1, Compare.IN, values=(15,)),)),)
_SET_OWNER = (Clause((Condition(1, Compare.IN, values=(0x8901, 0x8902)),)),)
_NONE = Action(Kind.ERRNO, ENOSYS)

_ROWS = (
    Row("process_vm_readv", 310, 347, Shape.SHUT, (), TRACE, error=EPERM, hint=REACH),
    Row("process_vm_writev", 311, 348, Shape.SHUT, (), TRACE, error=EPERM, hint=REACH),
    Row("kill", 62, 37, Shape.SIGNAL, (), TRACE, name_arg=0, flags_arg=1),
    Row("tkill", 200, 238, Shape.SIGNAL, (), TRACE, name_arg=0),
    Row("tgkill", 234, 270, Shape.SIGNAL, (), TRACE, name_arg=1),
    Row("rt_sigqueueinfo", 129, 178, Shape.SIGNAL, (), TRACE, name_arg=0),
    Row("rt_tgsigqueueinfo", 297, 335, Shape.SIGNAL, (), TRACE, name_arg=1),
    Row("pidfd_open", 434, 434, Shape.SIGNAL, (), TRACE, name_arg=0),
    # A thread can change what its descriptor is; who calls this falls back to kill.
    Row("pidfd_send_signal", 424, 424, Shape.SHUT, (), _NONE),
    Row("fcntl", 72, 55, Shape.SIGNAL, _SETOWN, ALLOW, name_arg=2),
    Row("fcntl64", -1, 221, Shape.SIGNAL, _SETOWN, ALLOW, name_arg=2),
    # These have the process in memory, which a thread can change.
    Row("fcntl", 72, 55, Shape.SHUT, _SETOWN_EX, ALLOW, error=EPERM, hint=_OWNER),
    Row("fcntl64", -1, 221, Shape.SHUT, _SETOWN_EX, ALLOW, error=EPERM, hint=_OWNER),
    Row("ioctl", 16, 54, Shape.SHUT, _SET_OWNER, ALLOW, error=EPERM, hint=_OWNER),
)

OUTSIDE = tuple(replace(row, weak=True) for row in _ROWS)
