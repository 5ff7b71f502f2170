"""Permissions hold for root, too, within a test."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_VERSION_3 = 0x20080522
_OVERRIDES = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: linux/capability.h


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextmanager
def without_overrides() -> Iterator[None]:
    """Let this thread, and those that it starts, heed permissions even as root."""
    if os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("root may enter every directory here")
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = _Header(_VERSION_3, 0), (_Sets * 2)()
    if libc.capget(ctypes.byref(header), before) != 0:
        pytest.skip("this system does not tell capabilities")
    within = (_Sets * 2)(*before)
    for capability in _OVERRIDES:
        within[0].effective &= ~(1 << capability)
    if libc.capset(ctypes.byref(header), within) != 0:
        pytest.skip("this system does not let capabilities go")
    try:
        yield
    finally:
        libc.capset(ctypes.byref(header), before)
