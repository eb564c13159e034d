"""
Compiles the C core: every ``*.c`` beside this file becomes ``netjail.kernel._core``.

``api.h`` is what Python sees and is parsed by cffi as it stands; ``core.h`` is
what the C files share. API mode with the limited API: one wheel for every
Python from 3.11.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent

ffi = FFI()
ffi.cdef((HERE / "api.h").read_text())
ffi.set_source(
    "netjail.kernel._core",
    '#include "core.h"',
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
