"""``fauxdna quantize``: a float32 model to int8, by calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import typer

from ._output import JsonOption, Output


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command(
        epilog="Example: fauxdna quantize model.onnx --calibration samples/ --shape x=1,3,640,640 --output model.int8.onnx"
    )(quantize)


def quantize(
    model: Annotated[Path, typer.Argument(help="A float32 ONNX model.", exists=True, dir_okay=False)],
    calibration: Annotated[
        Path,
        typer.Option(
            help="A folder of .npz files, one sample each with an array per input (or .npy files for one input).", exists=True
        ),
    ],
    shape: Annotated[
        list[str] | None,
        typer.Option(help="For an input whose shape the model leaves open; once for each.", metavar="NAME=D,D,..."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where it goes (default: MODEL.int8.onnx).")] = None,
    signed: Annotated[bool, typer.Option(help="Signed activations (s8s8) instead of unsigned (u8s8).")] = False,
    as_json: JsonOption = False,
) -> None:
    """Quantise a model to int8 with calibration inputs."""
    import onnx

    from ..compiler.quantise import quantise as quantise_model

    printer = Output(as_json)
    target = output or model.with_suffix(".int8.onnx")
    samples = _samples(calibration, model)
    with printer.progress() as step:
        step(f"quantising {model.name} with {len(samples)} samples")
        quantised = quantise_model(model, samples, shapes=_shapes(shape or []), signed=signed)
        onnx.save(quantised, target)
    printer.text(f"{target}: {len(quantised.graph.node)} nodes")
    printer.document({"model": target, "samples": len(samples), "nodes": len(quantised.graph.node)})


def _shapes(items: list[str]) -> dict[str, tuple[int, ...]]:
    from ..errors import InvalidArgument

    shapes = {}
    for item in items:
        name, _, dimensions = item.partition("=")
        try:
            shapes[name] = tuple(int(dimension) for dimension in dimensions.split(","))
        except ValueError:
            raise InvalidArgument(f"shape '{item}' has no dimensions", "write NAME=D,D,...") from None
    return shapes


def _samples(folder: Path, model: Path) -> list[dict[str, Any]]:
    from ..compiler.onnx_import import load
    from ..errors import NotFound

    graph = load(model).graph
    initialisers = {tensor.name for tensor in graph.initializer}
    names = [value.name for value in graph.input if value.name not in initialisers]
    samples: list[dict[str, Any]] = []
    for path in sorted(folder.iterdir()):
        if path.suffix == ".npz":
            samples.append(_arrays(path))
        elif path.suffix == ".npy" and len(names) == 1:
            samples.append({names[0]: _arrays(path)})
    if not samples:
        raise NotFound(f"{folder} holds no calibration samples", f"put .npz files there with arrays named {', '.join(names)}")
    return samples


def _arrays(path: Path) -> Any:
    """The array of a .npy file, or the arrays of a .npz file by name."""
    import numpy as np

    from ..errors import InvalidInput

    try:
        content = np.load(path, allow_pickle=False)
        return content if path.suffix == ".npy" else dict(content)
    except (ValueError, EOFError, TypeError, AttributeError, BadZipFile) as error:
        raise InvalidInput(
            f"{path} holds no arrays that can be read: {error}", "write it with numpy.save or numpy.savez"
        ) from error
