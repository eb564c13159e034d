"""
Compiles the C core: every ``*.c`` beside this file becomes ``netjail.kernel._core``.

``api.h`` and ``doors_api.h`` are what Python sees, parsed by cffi as they stand; ``core.h`` is
what the C files share. API mode with the limited API: one wheel for every
Python from 3.11.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent

ffi = FFI()
for header in ("api.h", "doors_api.h"):
    ffi.cdef((HERE / header).read_text())
ffi.set_source(
    "netjail.kernel._core",
    '#include "core.h"\n#include "doors_api.h"',
    sources=sorted(
        f"netjail/kernel/{path.name}" for path in HERE.glob("*.c") if path.name != "_core.c"
    ),
    include_dirs=["netjail/kernel"],
    depends=sorted(f"netjail/kernel/{path.name}" for path in HERE.glob("*.h")),
    extra_compile_args=[
        "-O2",
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-fno-strict-aliasing",
        "-D_GNU_SOURCE",
    ],
    py_limited_api=True,
)
