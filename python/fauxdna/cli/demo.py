"""``fauxdna demo``: three applications on real models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._output import JsonOption, Output

app = typer.Typer(
    help="Applications on real models: ocr, files, speech.", no_args_is_help=True, epilog="Example: fauxdna demo ocr scan.png"
)


@app.command(epilog="Example: fauxdna demo ocr scan.png --output scan.read.png")
def ocr(
    image: Annotated[
        Path | None, typer.Argument(help="A picture with text (default: scikit-image's scanned page).", exists=True)
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the annotated picture goes.")] = Path("page.read.png"),
    as_json: JsonOption = False,
) -> None:
    """Find and read the text of a page: detection on the array, recognition on the CPU."""
    from .. import open as open_npu
    from ..demo.models import extra

    with extra():
        from ..demo import ocr as application

    printer = Output(as_json)
    path = image or application.sample_page()
    picture = application.load_image(path)
    with printer.progress() as step:
        step("starting the NPU")
        with open_npu() as npu:
            page = application.read_page(npu, picture, progress=step)
    application.annotate(picture, page, output)
    for line in page.lines:
        printer.text(line.text)
    printer.text(f"\n{len(page.lines)} lines of {path.name}, boxes in {output}; detection on the array: {_summary(page.report)}")
    printer.document(
        {
            "image": path,
            "annotated": output,
            "lines": [
                {
                    "text": line.text,
                    "score": line.box.score,
                    "box": [line.box.left, line.box.top, line.box.right, line.box.bottom],
                }
                for line in page.lines
            ],
            "detection": page.report.as_dict(),
            "recognition": "cpu",
        }
    )


@app.command(epilog="Example: fauxdna demo files ~/Downloads/*")
def files(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files (default: some that every installation has).", exists=True)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Name file types by their content."""
    from .. import open as open_npu
    from ..demo import files as application
    from ..errors import InvalidArgument

    printer = Output(as_json)
    with printer.progress() as step, open_npu() as npu:
        chosen = [path for path in paths if path.is_file()] if paths else application.sample_files()
        if not chosen:
            raise InvalidArgument("none of these is a file", "name one, such as: fauxdna demo files ~/Downloads/*")
        found = list(application.name_types(npu, chosen, progress=step))
    printer.table("File types", ("file", "type", "score"), [(item.path.name, item.label, item.score) for item in found])
    if found:
        printer.text(f"last file: {_summary(found[-1].report)}")
    printer.document({"files": [{"path": item.path, "type": item.label, "score": item.score} for item in found]})


@app.command(epilog="Example: fauxdna demo speech meeting.wav --json")
def speech(
    wav: Annotated[
        Path | None, typer.Argument(help="A 16-bit, 16 kHz WAV file (default: a synthetic voice).", exists=True)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Mark where somebody speaks."""
    from .. import open as open_npu
    from ..demo import speech as application

    printer = Output(as_json)
    path = wav or application.sample_wav()
    samples = application.load_wav(path)
    with printer.progress() as step, open_npu() as npu:
        heard = application.mark_speech(npu, samples, progress=step)
    printer.table(
        f"Speech in {path.name}", ("from s", "to s"), [(f"{part.start:.2f}", f"{part.end:.2f}") for part in heard.segments]
    )
    printer.text(f"last run: {_summary(heard.report)}")
    printer.document({"file": path, "segments": [{"start": part.start, "end": part.end} for part in heard.segments]})


def _summary(report: Any) -> str:
    facts = report.as_dict()
    simulated = f"{facts['simulated_ns'] / 1e6:.2f} ms and {facts['energy_uj']:.0f} uJ on the simulated NPU"
    return f"{facts['wall_ms']:.0f} ms here, {simulated}"
