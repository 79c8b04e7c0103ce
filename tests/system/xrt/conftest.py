"""Who runs stock XRT, where, and on what."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from _xrt import EXAMPLES, Xrt

sys.path.insert(0, str(EXAMPLES))
from _sandboxed import as_root, as_user
from _trixie import TrixieRoot

import fauxdna
from fauxdna.artifact.program import Program


@pytest.fixture(params=["root", "user"])
def xrt(request: pytest.FixtureRequest, trixie_root: TrixieRoot) -> Iterator[Xrt]:
    """Stock XRT, as root and as an ordinary user."""
    runner = as_root() if request.param == "root" else as_user()
    if isinstance(runner, str):
        pytest.skip(runner)
    if not (trixie_root.path / "usr/bin/g++").exists():
        pytest.skip("the trixie root lacks what these tests need; bring it up to date with ./dev root")
    with tempfile.TemporaryDirectory(prefix="fauxdna-xrt-") as folder:
        os.chmod(folder, 0o777)
        yield Xrt(runner, trixie_root, Path(folder))


class Small:
    """A small model of two convolutions, an input, and the output that ``fauxdna run`` gives."""

    def __init__(self) -> None:
        import run_a_model

        rng = np.random.default_rng(0)
        samples = [{"x": rng.normal(size=run_a_model.SHAPE).astype(np.float32)} for _ in range(4)]
        self.program: Program = fauxdna.compile(run_a_model.model(rng), calibration=samples)
        self.x: npt.NDArray[np.float32] = samples[0]["x"]
        with fauxdna.open() as npu, npu.context(self.program) as context:
            self.y: bytes = context.run({"x": self.x})["y"].tobytes()
        (self.step,) = self.program.steps


@pytest.fixture(scope="session")
def small() -> Small:
    """A compiled model and what comes out of it."""
    return Small()
