"""An AMD AIE4 NPU in software: device, driver, runtime and compiler.

::

    import fauxdna

    program = fauxdna.compile("m.onnx")
    with fauxdna.open() as npu, npu.context(program) as context:
        outputs = context.run({"x": x})

Everything here is loaded when it is first used; importing the package costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import errors as errors
    from .artifact.program import Program as Program
    from .compiler import compile as compile
    from .runtime import Npu as Npu
    from .runtime import Report as Report
    from .runtime import Tensor as Tensor
    from .runtime import open_npu as open

__version__ = "0.1.0"
__all__ = ["Npu", "Program", "Report", "Tensor", "__version__", "compile", "errors", "open"]

_HOMES = {
    "Npu": ("runtime", "Npu"),
    "Program": ("artifact.program", "Program"),
    "Report": ("runtime", "Report"),
    "Tensor": ("runtime", "Tensor"),
    "compile": ("compiler", "compile"),
    "errors": ("errors", ""),
    "open": ("runtime", "open_npu"),
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f".{home[0]}", __name__)
    value = getattr(module, home[1]) if home[1] else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
