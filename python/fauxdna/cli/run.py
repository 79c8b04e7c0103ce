"""``fauxdna run``: a model, a compiled program, or an ELF that aiebu-asm made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._complete import devices
from ._output import JsonOption, Output

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..artifact.program import Program

_EXAMPLE = """
Example: fauxdna run model.onnx --input x=picture.npy --output y=result.npy

An input is NAME=FILE, or FILE alone when the model has one input; files are .npy, or raw bytes in the input's type. An ELF takes
its buffers in order, as --input FILE or --input zeros:BYTES, and --output INDEX=FILE writes a buffer after the run.
"""


BUFFER_MAX = 1 << 32
"""Bytes of the largest buffer that is made of zeros."""


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command(epilog=_EXAMPLE)(run)


def run(
    model: Annotated[Path, typer.Argument(help="An ONNX model, a compiled program, or an AIE4 ELF.", exists=True)],
    inputs: Annotated[
        list[str] | None, typer.Option("--input", "-i", help="An input; once for each.", metavar="NAME=FILE")
    ] = None,
    outputs: Annotated[
        list[str] | None, typer.Option("--output", "-o", help="Where an output goes; once for each.", metavar="NAME=FILE")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="A real node, such as /dev/accel/accel0, instead of the virtual device.", autocompletion=devices),
    ] = None,
    strict: Annotated[bool, typer.Option(help="Refuse to run any operator on the CPU.")] = False,
    trace: Annotated[
        Path | None, typer.Option(help="Write packets, pages, BDs and locks, as they are worked, to this file.")
    ] = None,
    log: Annotated[bool, typer.Option(help="Print the log of device, firmware and driver to standard error afterwards.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a model on the NPU."""
    output = Output(as_json)
    from .. import open as open_npu

    with output.progress() as step, open_npu(device, trace=trace) as npu:
        if _is_elf(model):
            document = _run_elf(npu, model, inputs or [], outputs or [])
        else:
            document = _run_program(npu, _program(model, strict, step), inputs or [], outputs or [], step)
        lines = npu.log_lines() if log else []
    for line in lines:
        typer.echo(line, err=True)
    _print(output, document)


def _is_elf(path: Path) -> bool:
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _program(path: Path, strict: bool, step: Any) -> Program:
    from ..artifact.program import Program, is_program

    if is_program(path):
        return Program.load(path)
    from ..compiler import compile as compile_model

    step(f"compiling {path.name}")
    return compile_model(path, strict=strict)


def _run_program(npu: Any, program: Program, inputs: list[str], outputs: list[str], step: Any) -> dict[str, Any]:
    import numpy as np

    feeds = {}
    for item in inputs:
        name, file = _split(item, program.inputs, "input")
        wanted = program.tensors[name]
        feeds[name] = _read_array(Path(file), wanted.dtype, wanted.shape)
    step("running")
    with npu.context(program) as context:
        results = context.run(feeds)
        report = context.report
    for item in outputs:
        name, file = _split(item, tuple(results), "output")
        _write_array(Path(file), results[name])
    return {
        "model": program.name,
        "outputs": {
            name: {"shape": list(value.shape), "dtype": str(value.dtype), "mean": float(np.mean(value, dtype=np.float64))}
            for name, value in results.items()
        },
        "npu_mac_share": program.npu_mac_share,
        **report.as_dict(),
        "nodes": [{"name": node.name, "op": node.op, "place": node.place, "why": node.why} for node in program.nodes],
    }


def _run_elf(npu: Any, path: Path, inputs: list[str], outputs: list[str]) -> dict[str, Any]:
    import numpy as np

    buffers: list[npt.NDArray[np.uint8]] = []
    for item in inputs:
        if item.startswith("zeros:"):
            buffers.append(np.zeros(_size(item.removeprefix("zeros:")), np.uint8))
        else:
            buffers.append(np.frombuffer(Path(item).read_bytes(), np.uint8).copy())
    report = npu.run_elf(path.read_bytes(), buffers)
    for item in outputs:
        index, file = _split(item, tuple(map(str, range(len(buffers)))), "buffer")
        _write_array(Path(file), buffers[int(index)])
    return {"model": path.name, "outputs": {}, "npu_mac_share": 1.0, **report.as_dict(), "nodes": []}


def _size(text: str) -> int:
    from ..errors import InvalidArgument

    try:
        size = int(text, 0)
    except ValueError:
        size = -1
    if not 0 <= size <= BUFFER_MAX:
        raise InvalidArgument(f"'zeros:{text}' is no buffer of 0 to {BUFFER_MAX} bytes", "write zeros:BYTES")
    return size


def _split(item: str, names: tuple[str, ...], what: str) -> tuple[str, str]:
    from ..errors import InvalidArgument

    name, found, file = item.partition("=")
    if not found and len(names) == 1:
        return names[0], item
    if not found or name not in names:
        raise InvalidArgument(f"{what} '{item}' names none of: {', '.join(names)}", "write NAME=FILE")
    return name, file


def _read_array(path: Path, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    import numpy as np

    from ..errors import InvalidArgument

    try:
        value: npt.NDArray[np.generic] = (
            np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.frombuffer(path.read_bytes(), dtype).reshape(shape)
        )
    except (ValueError, EOFError, MemoryError) as error:
        raise InvalidArgument(
            f"{path} is no {dtype} array: {error}", f"give a .npy file or raw bytes of shape {list(shape)}"
        ) from error
    return value


def _write_array(path: Path, value: npt.NDArray[Any]) -> None:
    import numpy as np

    if path.suffix == ".npy":
        np.save(path, value)
    else:
        path.write_bytes(value.tobytes())


def _print(output: Output, document: dict[str, Any]) -> None:
    output.table(
        document["model"],
        ("output", "shape", "type", "mean"),
        [(name, value["shape"], value["dtype"], value["mean"]) for name, value in document["outputs"].items()],
    )
    # A real node, and one that fauxdna exec shows, do not tell what a command cost.
    cost = f"{document['simulated_ns'] / 1e6:.3f} ms and {document['energy_uj']:.1f} uJ on the simulated NPU, "
    output.text(
        f"{document['wall_ms']:.1f} ms here, {cost if document['simulated_ns'] else ''}"
        f"{document['npu_mac_share']:.1%} of the multiply-accumulates on the array"
    )
    on_cpu = [node for node in document["nodes"] if node["place"] == "cpu"]
    if on_cpu:
        output.table("On the CPU", ("node", "operator", "why"), [(node["name"], node["op"], node["why"]) for node in on_cpu])
    output.document(document)
