"""i386's system calls from this 64-bit process: the kernel takes both from one program."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import signal

# push rbx, rbp; r8 = rdi; eax, ebx, ecx, edx, esi, edi, ebp = seven words at r8;
# int 0x80; pop rbp, rbx; ret
_CODE = bytes.fromhex(
    "5355 4989f8 418b00 418b5804 418b4808 418b500c 418b7010 418b7814 418b6818 cd80 5d5b c3"
)


@functools.cache
def _entry() -> tuple[mmap.mmap, ctypes.CDLL]:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(address)
    return page, function


def call(number: int, *args: int) -> int:
    """What the call returns, -errno where it fails; pointers must lie below 4 GiB."""
    words = (ctypes.c_uint32 * 7)(*(word & 0xFFFFFFFF for word in (number, *args)))
    return int(_entry()[1](ctypes.addressof(words)))


@functools.cache
def works() -> bool:
    """Whether this kernel has CONFIG_IA32_EMULATION, and has it on."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os._exit(call(20) != os.getpid())  # getpid
    return os.waitpid(child, 0)[1] == 0
