"""Compiles a small model for one column, so that XRT can run it: writes ``model.program`` and an input, ``x.bin``.

    python examples/xrt/make_model.py

XRT locks 3 MiB of scratch pad for each column, and many systems let a user lock no more than 8 MiB.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import run_a_model

import fauxdna

rng = np.random.default_rng(0)
pictures = [rng.normal(size=run_a_model.SHAPE).astype(np.float32) for _ in range(4)]
program = fauxdna.compile(run_a_model.model(rng), calibration=[{"x": picture} for picture in pictures], columns=1)
program.save("model.program")
Path("x.bin").write_bytes(pictures[0].tobytes())
print("model.program; x.bin, a picture of", run_a_model.SHAPE)
