"""Options of ``fauxdna exec``: what they may be, and a quick reader for the common case."""

from __future__ import annotations

from fauxdna.abi.identity import TOTAL_VFS
from fauxdna.errors import InvalidArgument

LEVELS = ("next", "7.2")
PACES = ("fast", "real")
NPUS_MAX = 8


class Options:
    """What to run, and on what."""

    def __init__(self) -> None:
        self.program: list[str] = []
        """Name and arguments."""
        self.npus = 1
        self.functions = "vf"
        """Which nodes each NPU has, such as ``pf,vf=2``."""
        self.uapi = LEVELS[0]
        self.die: str | None = None
        """Socket of a daemon; None starts a die of one's own."""
        self.root: str | None = None
        self.pace = PACES[0]
        self.log: str | None = None
        self.quiet = False

    def check(self) -> None:
        """Raises :class:`InvalidArgument` for what can't be."""
        parse_functions(self.functions)
        _one_of("uapi", self.uapi, LEVELS)
        _one_of("pace", self.pace, PACES)
        if not 1 <= self.npus <= NPUS_MAX:
            raise InvalidArgument(f"--npus {self.npus}", f"give 1 to {NPUS_MAX}")
        if self.die is not None:
            for name, default in (("npus", 1), ("pace", PACES[0]), ("log", None)):
                if getattr(self, name) != default:
                    raise InvalidArgument(f"--{name} with --die", f"the daemon decides that: fauxdna serve --{name}")


def parse_functions(text: str) -> list[bool]:
    """The nodes that ``pf,vf=2`` names, in order; true is a PF."""
    nodes: list[bool] = []
    for part in text.split(","):
        name, _, count = part.strip().partition("=")
        number = _number(count) if count else 1
        if name not in ("pf", "vf") or number < 1 or (name == "pf" and (number > 1 or True in nodes)):
            raise InvalidArgument(f"--functions {text}: '{part}' is no function", "write pf, vf, vf=N, or several with commas")
        if name == "vf" and nodes.count(False) + number > TOTAL_VFS:
            raise InvalidArgument(f"--functions {text}: a die has {TOTAL_VFS} VFs", "ask for fewer")
        nodes += [name == "pf"] * number
    return nodes


def _number(text: str) -> int:
    """0 for what is no number; one that is too large in any case for what has more digits than anybody needs."""
    if not text.isdecimal():
        return 0
    return int(text) if len(text) < 10 else TOTAL_VFS + 1


def quick(arguments: list[str]) -> Options | None:
    """The options in ``arguments`` where nothing is wrong with them; None where only the full command line can say what is."""
    options = Options()
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        name, equals, value = arguments[at].partition("=")
        at += 1
        if name == "--" and not equals:
            break
        if name in ("--quiet", "-q") and not equals:
            options.quiet = True
            continue
        key = name[2:]
        if name[:2] != "--" or key not in ("npus", "functions", "uapi", "die", "root", "pace", "log"):
            return None
        if not equals:
            if at == len(arguments):
                return None
            value = arguments[at]
            at += 1
        if key == "npus":
            if not value.isdecimal():
                return None
            options.npus = int(value)
        else:
            setattr(options, key, value)
    options.program = arguments[at:]
    if not options.program:
        return None
    try:
        options.check()
    except InvalidArgument:
        return None
    return options


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidArgument(f"--{name} {value}", f"use {' or '.join(known)}")
