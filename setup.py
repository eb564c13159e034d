"""The C core and the wheel's tag; everything else is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["netjail/kernel/build.py:ffi"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
