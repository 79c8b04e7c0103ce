"""The die of one sandbox: ``python -m fauxdna.host.private SETTINGS``, with the launcher's socket as descriptor 3.

Started by :mod:`fauxdna.host.launch`; ends with the sandbox.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from contextlib import ExitStack

from fauxdna.errors import FauxdnaError
from fauxdna.log import Level, Log

from . import _wire

_LINK = 3


def main() -> None:
    """Brings the dies up, takes the sandbox, waits for its end."""
    settings = json.loads(sys.argv[1])
    from .daemon import Daemon
    from .dies import bring_up

    log = Log()
    log.subscribe(lambda entry: print(entry, flush=True), Level.INFO)
    os.chdir("/")
    over = threading.Event()
    with ExitStack() as undo, socket.socket(fileno=_LINK) as link:
        machines = [
            undo.enter_context(bring_up(bdf, vfs=settings["vfs"], pace=settings["pace"], log=log)) for bdf in settings["dies"]
        ]
        daemon = Daemon(machines, log, idle=over.set)
        undo.callback(daemon.close)
        try:
            request, descriptors = _wire.receive(link)
        except FauxdnaError:
            # The launcher gave up before there was anything to serve.
            return
        daemon.take(descriptors[0], descriptors[1:], request["nodes"], settings["uapi"], str(request["run"]))
        link.close()
        over.wait()


if __name__ == "__main__":
    main()
