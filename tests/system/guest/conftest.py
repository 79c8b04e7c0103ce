"""Guests of Debian's Linux 7.2 under QEMU, booted once for all tests that leave them as they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fauxdna.demo.small import SmallModel, small_model
from fauxdna.errors import FauxdnaError
from fauxdna.vm import Machine, Settings, Share
from fauxdna.vm.initramfs import busybox
from fauxdna.vm.kernel import Kernel, stock_kernel
from fauxdna.vm.programs import MODEL_FOLDER, PROBE, probe
from fauxdna.vm.qemu import find_qemu


def quiet(_text: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    """Debian's kernel; skips where QEMU, the kernel, busybox or the probe can't be had."""
    try:
        find_qemu(quiet)
        busybox(quiet)
        probe()
        return stock_kernel(quiet)
    except FauxdnaError as error:
        pytest.skip(f"no guest: {error}")


@pytest.fixture(scope="session")
def small() -> SmallModel:
    """A model of one ELF, with an input and the output that it had outside."""
    return small_model()


@pytest.fixture(scope="session")
def equipment(kernel: Kernel, small: SmallModel) -> dict[str, dict[str, bytes]]:
    """What every guest gets: the probe and the small model. For :class:`Settings`."""
    return {
        "programs": {PROBE: probe()},
        "files": {f"{MODEL_FOLDER}/{name}": content for name, content in small.files().items()},
    }


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that :func:`machine` has as /mnt/shared."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def machine(equipment: dict[str, dict[str, bytes]], shared: Path) -> Iterator[Machine]:
    """A guest with the PF and two VFs."""
    settings = Settings(vfs=2, shares=[Share(shared, "/mnt/shared")], verbose=True, **equipment)
    with Machine(settings) as machine:
        yield machine
