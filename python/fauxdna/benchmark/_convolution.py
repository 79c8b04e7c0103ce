"""One convolution, timed in this process: what doors to the device are held against."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..artifact.program import ArrayStep

RUNS: Final = 50
SHAPE: Final = (1, 64, 64, 64)
CHANNELS: Final = 64
"""Of the measured convolution: 151 million multiply-accumulates."""


def outside() -> tuple[ArrayStep, float]:
    """The model's one step, and its median time in milliseconds in this process."""
    import numpy as np

    from .. import open as open_npu
    from ..artifact.program import ArrayStep
    from ..compiler import compile as compile_model
    from ..demo.small import graph

    program = compile_model(graph(SHAPE, CHANNELS), columns=1, strict=True)
    (step,) = program.steps
    assert isinstance(step, ArrayStep)
    with open_npu() as npu, npu.context(program) as context:
        times = []
        for _ in range(RUNS):
            context.run({"x": np.zeros(SHAPE, np.float32)})
            times.append(context.report.steps[0].wall_ms)
    return step, statistics.median(times)


def sizes(step: ArrayStep) -> tuple[int, int, int]:
    """Bytes of the kernel's arguments: float32 input and output, and the workspace."""
    _, channels, height, width = SHAPE
    return 4 * channels * height * width, 4 * CHANNELS * height * width, max(step.workspace, 1)
