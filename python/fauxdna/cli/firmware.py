"""``fauxdna firmware``: build and verify signed firmware images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ._output import JsonOption, Output

app = typer.Typer(
    help="Build and verify signed firmware images.", no_args_is_help=True, epilog="Example: fauxdna firmware build firmware/"
)

KeyOption = Annotated[
    Path | None, typer.Option(help="Ed25519 key, PEM (default: the development key).", exists=True, dir_okay=False)
]


@app.command(epilog="Example: fauxdna firmware build firmware/")
def build(
    folder: Annotated[Path, typer.Argument(help="Where npu.dev.sbin and cert.dev.sbin go.")],
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the npu and cert images, signed."""
    from ..firmware import build_images

    printer = Output(as_json)
    with _named(key):
        images = build_images(key.read_bytes() if key else None)
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, image in images.items():
        (folder / name).write_bytes(image)
        written[name] = len(image)
        printer.text(f"{folder / name}: {len(image)} bytes")
    printer.document({"folder": folder, "images": written})


@app.command(epilog="Example: fauxdna firmware verify npu.dev.sbin")
def verify(
    image: Annotated[Path, typer.Argument(help="A firmware image.", exists=True, dir_okay=False)],
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check an image as the PSP would; exit status 1 says why it is refused."""
    from ..errors import InvalidInput
    from ..firmware import FirmwareError, verify_image

    printer = Output(as_json)
    try:
        with _named(key):
            facts = verify_image(image.read_bytes(), key.read_bytes() if key else None)
    except FirmwareError as error:
        remedy = "build images with: fauxdna firmware build FOLDER"
        raise InvalidInput(f"{image}: {error.strerror}", remedy, errno=error.errno) from error
    printer.table(str(image), ("property", "value"), [(name, value) for name, value in facts.items()])
    printer.document(facts)


@contextmanager
def _named(key: Path | None) -> Iterator[None]:
    """Names ``key`` where it is refused."""
    from ..errors import InvalidArgument
    from ..firmware import FirmwareError

    try:
        yield
    except FirmwareError:
        raise
    except OSError as error:
        if error.filename is not None or key is None:
            raise
        raise InvalidArgument(f"{key}: {error.strerror}", "make one: openssl genpkey -algorithm ed25519 -out my.key") from error
