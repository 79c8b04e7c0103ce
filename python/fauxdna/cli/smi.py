"""``fauxdna smi``: what an NPU is and does, for people without XRT."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._complete import devices, dies
from ._output import JsonOption, Output

if TYPE_CHECKING:
    from ..accel import AccelFile

app = typer.Typer(help="Show what an NPU is and does, and set its power mode.")

DeviceOption = Annotated[
    Path | None,
    typer.Option(
        help="A node, such as /dev/accel/accel0 (default: all; to set, the first that computes).",
        show_default=False,
        autocompletion=devices,
    ),
]
DieOption = Annotated[
    Path | None,
    typer.Option(help="Socket of fauxdna serve, whose die to look at.", show_default=False, autocompletion=dies),
]


class Mode(StrEnum):
    """Power modes."""

    DEFAULT = "default"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    TURBO = "turbo"


@app.callback(invoke_without_command=True, epilog="Example: fauxdna smi --die /run/fauxdna.sock --watch 1")
def smi(
    context: typer.Context,
    device: DeviceOption = None,
    die: DieOption = None,
    watch: Annotated[float | None, typer.Option(min=0.1, help="Show again every so many seconds, until interrupted.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show device, firmware, clocks, power, columns, contexts, memory and the last error of an NPU."""
    if context.invoked_subcommand is not None:
        return
    if die is not None:
        _inside(die, [*(["--json"] if as_json else []), *([] if watch is None else ["--watch", str(watch)])])
    printer = Output(as_json)
    with ExitStack() as undo:
        files = [undo.enter_context(file) for file in _open(device)]
        while True:
            show(files, printer)
            if watch is None:
                return
            time.sleep(watch)


@app.command(name="set", epilog="Example: fauxdna smi set --power-mode low")
def change(
    power_mode: Annotated[Mode | None, typer.Option(help="Power mode of the function.", show_default=False)] = None,
    force_preemption: Annotated[
        bool | None,
        typer.Option("--force-preemption/--no-force-preemption", help="Preempt packets where they allow it.", show_default=False),
    ] = None,
    device: DeviceOption = None,
    die: DieOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set power mode or preemption of a function; it takes CAP_SYS_ADMIN, as in Linux."""
    from ..abi.uapi import PowerMode
    from ..accel.overview import set_force_preemption, set_power_mode

    if power_mode is None and force_preemption is None:
        raise typer.BadParameter("give --power-mode, or --force-preemption")
    if die is not None:
        words = ["set"]
        words += [] if power_mode is None else ["--power-mode", power_mode.value]
        words += [] if force_preemption is None else [f"--{'' if force_preemption else 'no-'}force-preemption"]
        _inside(die, [*words, *(["--json"] if as_json else [])])
    printer = Output(as_json)
    with ExitStack() as undo:
        file = undo.enter_context(_first_that_computes(_open(device)))
        if power_mode is not None:
            set_power_mode(file, PowerMode[power_mode.name])
            printer.text(f"{file.name}: power mode {power_mode.value}")
        if force_preemption is not None:
            set_force_preemption(file, force_preemption)
            printer.text(f"{file.name}: forced preemption {'on' if force_preemption else 'off'}")
        printer.document({"node": file.name, "power_mode": power_mode, "force_preemption": force_preemption})


@app.command(name="validate-archive", epilog="Example: fauxdna smi validate-archive && fauxdna exec -- xrt-smi validate")
def validate_archive(
    folder: Annotated[
        Path | None,
        typer.Argument(help="XRT's platform repository (default: xrt in $XDG_DATA_HOME or ~/.local/share).", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the archive of test programs that xrt-smi validate needs, of this device's own; AMD's is not public."""
    from ..compiler.validation import ARCHIVE, build, is_ours
    from ..errors import InvalidArgument

    if folder is None:
        folder = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "xrt"
    path = folder / "amdxdna/bins" / ARCHIVE
    if path.exists() and not is_ours(path.read_bytes()):
        raise InvalidArgument(f"{path} is another archive, such as AMD's", "name another folder, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(build())
    printer = Output(as_json)
    printer.text(f"wrote {path}")
    printer.document({"archive": str(path)})


def show(files: list[AccelFile], printer: Output) -> None:
    """Prints the view of open nodes. Beside others, a VF that nobody uses is left out of the text."""
    from ..accel.overview import overview

    views = [overview(file) for file in files]
    for view in views:
        if len(views) == 1 or view["contexts"] or view["power_mode"] != Mode.DEFAULT:
            _show(view, printer)
    printer.document({"nodes": views})


def _show(view: dict[str, Any], printer: Output) -> None:
    attributes = view["attributes"]
    rows: list[tuple[str, object]] = [
        ("device", f"{attributes.get('vbnv', '?')} ({attributes.get('vendor', '?')}:{attributes.get('device', '?')})"),
        ("driver", view["driver"]),
        ("firmware", _or(view["firmware"]["npu"], lambda npu: f"npu {npu}, cert {view['firmware']['cert']}")),
        ("array", _or(view["array"], lambda array: f"{array['columns']} columns of {array['rows']} rows")),
        ("power mode", _or(view["power_mode"], str)),
        ("clocks", _or(view["clocks_mhz"], lambda clocks: f"MP-NPU {clocks['mp_npu']} MHz, H {clocks['h']} MHz")),
        ("TOPS", _or(view["tops"], lambda tops: f"{tops['now']} of {tops['max']}")),
        ("power", _or(view["power_mw"], lambda power: f"{power} mW")),
        ("columns busy", _or(view["utilization"], lambda busy: ", ".join(f"{value} %" for value in busy))),
        ("forced preemption", _or(view["force_preemption"], lambda forced: "on" if forced else "off")),
        ("last error", "not told" if view["contexts"] is None else "none"),
    ]
    if error := view["last_error"]:
        rows[-1] = ("last error", f"{error['text']} (context {error['hw_context']}, {error['time']})")
    printer.table(view["node"], ("property", "value"), rows)
    if view["contexts"]:
        used = {process["pid"]: process["bo_bytes"] for process in view["processes"] or []}
        printer.table(
            "Contexts",
            ("id", "pid", "process", "columns", "state", "sent", "done", "errors", "preempted", "KiB"),
            [
                (
                    item["id"],
                    item["pid"],
                    item["process"],
                    "-".join(map(str, item["columns"])),
                    item["state"],
                    item["submitted"],
                    item["completed"],
                    item["errors"],
                    item["preemptions"],
                    used.get(item["pid"], 0) // 1024,
                )
                for item in view["contexts"]
            ],
        )


def _or(value: Any, text: Callable[[Any], str]) -> str:
    return "not told" if value is None else text(value)


def _open(device: Path | None) -> list[AccelFile]:
    """The node named, or all that there are."""
    from ..accel.real import RealFile
    from ..errors import NotFound

    nodes = sorted(Path("/dev/accel").glob("accel*"), key=lambda node: (len(node.name), node.name))
    if device is None and not nodes:
        raise NotFound("this machine has no NPU node", "name a die: fauxdna smi --die SOCKET")
    return [RealFile(node) for node in ([device] if device is not None else nodes)]


def _first_that_computes(files: list[AccelFile]) -> AccelFile:
    from ..abi.uapi import DeviceType
    from ..errors import NotFound

    for file in files:
        if file.attributes().get("device_type", "1") == str(int(DeviceType.UMQ)):
            for other in files:
                if other is not file:
                    other.close()
            return file
    raise NotFound("none of the nodes computes", "create a VF, and name its node with --device")


def _inside(die: Path, arguments: list[str]) -> None:
    """Becomes this command in a sandbox of the die, which has a node for each of its functions."""
    from ..host import _wire
    from ..host._options import Options
    from ..host.launch import launch

    options = Options()
    options.die = str(die)
    # What the die says of its PF, before anything is taken from it.
    link = _wire.connect(options.die)
    answer = _wire.ask(link, {"open": [True], "uapi": options.uapi}, [])
    link.close()
    vfs = int(answer["nodes"][0]["attributes"].get("sriov_numvfs", "0"))
    options.functions = f"pf,vf={vfs}" if vfs else "pf"
    options.quiet = True
    options.program = [sys.executable, "-m", "fauxdna", "smi", *arguments]
    options.check()
    launch(options)
