"""The filter under the real kernel: what it stops, what it lets through, and its refusals."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from fauxdna.host import _filter

TELLS = """
import ctypes, os, sys
sys.path[:0] = {path!r}
from fauxdna.host._filter import install_filter
os.close(install_filter())
libc = ctypes.CDLL(None, use_errno=True)
for request in {requests!r}:
    libc.ioctl(-1, ctypes.c_ulong(request), 0)
    print(ctypes.get_errno())
"""


def errno_of(*requests: int) -> list[int]:
    """What a filtered program without anybody at its listener gets from each request on descriptor -1."""
    source = TELLS.format(path=sys.path, requests=requests)
    return [int(line) for line in subprocess.run([sys.executable, "-c", source], check=True, capture_output=True).stdout.split()]


def test_only_drm_requests_are_caught() -> None:
    # A caught call without a listener gives ENOSYS (seccomp(2)); any other reaches the kernel, which finds no descriptor -1.
    caught = errno_of(0xC0406400, 0x6400, 0x40106449, 0xFFFF64FF, 0x1_0000_6400)
    assert caught == [errno.ENOSYS] * 5
    # TCGETS, FIONREAD, 'c' and 'e' requests, and DRM's type at a wrong place.
    assert errno_of(0x5401, 0x541B, 0xC0406300, 0xC0406500, 0x00640000) == [errno.EBADF] * 5


def test_a_second_listener_is_refused() -> None:
    source = f"import sys; sys.path[:0] = {sys.path!r}\n" + (
        "from fauxdna.host._filter import install_filter\nfrom fauxdna.errors import Busy\n"
        "listener = install_filter()\n"
        "try:\n    install_filter()\nexcept Busy as error:\n    print(error.errno, 'leave the outer' in str(error))\n"
    )
    result = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True)
    assert result.stdout.split() == [str(errno.EBUSY), "True"]


def test_the_listener_closes_on_exec() -> None:
    source = f"import sys; sys.path[:0] = {sys.path!r}\n" + (
        "import os\nfrom fauxdna.host._filter import install_filter\nprint(os.get_inheritable(install_filter()))\n"
    )
    assert subprocess.run([sys.executable, "-c", source], check=True, capture_output=True).stdout == b"False\n"


def test_nothing_heavy_is_imported() -> None:
    source = f"import sys; sys.path[:0] = {sys.path!r}\n" + (
        "import fauxdna.host._filter\n"
        "print([name for name in ('numpy', 'typer', 'rich', 'fauxdna._core') if name in sys.modules])\n"
    )
    assert subprocess.run([sys.executable, "-c", source], check=True, capture_output=True).stdout == b"[]\n"


def test_refusals_name_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = os.uname_result(("Linux", "host", "6.1", "", "aarch64"))
    monkeypatch.setattr(_filter.os, "uname", lambda: machine)
    with pytest.raises(OSError, match="aarch64 can't be caught; run it on x86-64") as refused:
        _filter.install_filter()
    assert refused.value.errno == errno.EOPNOTSUPP
