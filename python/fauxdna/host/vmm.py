"""``fauxdna serve --vfio-user``'s work: a die whose functions VMMs attach, until a signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from fauxdna.driver import Pf, probe
from fauxdna.errors import InvalidArgument
from fauxdna.firmware import image_loader
from fauxdna.log import Level, Log
from fauxdna.serve import LocalDie
from fauxdna.serve.vfio_user import VfioUserServer


def places(path: Path, functions: Sequence[str], vfs: int) -> dict[str, Path]:
    """A socket for each function: ``path`` for one, ``NAME.sock`` in a directory for several.

    Without ``functions`` a directory gets the PF and ``vfs`` VFs, and a path the PF.
    """
    if path.is_dir():
        return {name: path / f"{name}.sock" for name in functions or ["pf", *(f"vf{index}" for index in range(vfs))]}
    if len(functions) > 1:
        raise InvalidArgument(f"{len(functions)} functions at one socket {path}", "name a directory that exists")
    return dict.fromkeys(functions or ["pf"], path)


def serve(
    sockets: dict[str, Path],
    *,
    columns: int,
    vfs: int,
    pace: str,
    log_file: Path | None = None,
    ready: Callable[[dict[str, Path]], None] = lambda sockets: None,
) -> None:
    """Serves functions of a die until SIGINT or SIGTERM; then clients' connections end, and the sockets are removed.

    Where the PF is not among them our own driver runs it, with ``vfs`` VFs.

    Args:
        sockets: Path of each function's socket by its name, ``pf`` or ``vf0`` and so on.
        columns: Columns of the array.
        vfs: Virtual functions that the die has.
        pace: ``"fast"`` or ``"real"``.
        log_file: Where the log is written.
        ready: Called when clients may come.
    """
    log = Log()
    stop = threading.Event()
    with ExitStack() as undo:
        if log_file is not None:
            output = undo.enter_context(log_file.open("a", buffering=1))
            undo.callback(log.subscribe(lambda entry: print(entry, file=output), Level.INFO))
        die = undo.enter_context(LocalDie(total_vfs=vfs, columns=columns, pace=pace, log=log))
        if "pf" not in sockets:
            (bdf,) = die.functions()
            pf = probe(die.open(bdf), bdf, image_loader(), log)
            undo.callback(pf.close)
            assert isinstance(pf, Pf)
            pf.sriov_configure(vfs)
        server = undo.enter_context(VfioUserServer(die))
        for name, path in sockets.items():
            server.listen(path, name)
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.signal(number, lambda *_: stop.set())
            undo.callback(signal.signal, number, previous)
        ready(sockets)
        stop.wait()
