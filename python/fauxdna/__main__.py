"""The ``fauxdna`` command. ``fauxdna exec`` is recognised before the rest of the command line is loaded, to start quickly."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point; exit status as :func:`fauxdna.cli.main`, or the executed program's."""
    if sys.argv[1:2] == ["exec"] and "_FAUXDNA_COMPLETE" not in os.environ:
        from .host._options import quick

        options = quick(sys.argv[2:])
        if options is not None:
            from ._root import find_root
            from .host.launch import launch

            launch(options, find_root)
    from .cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
