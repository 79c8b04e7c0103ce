"""A model over the program's own pages, in a sandbox, and what becomes of it when the program unmaps, protects or moves them.

In Linux the pages are pinned: what is unmapped or moved is reached all the same, and what is discarded is lost to the program.
Here the device reaches what the program has at the address, or nothing: then the command fails, and its context says why.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from _guest_program import compiled
from _patience import eventually
from _sandboxed import Runner

from fauxdna.demo.small import small_model

EXPECTED = """\
untouched: completed, the same bytes
output unmapped: failed
mapped anew: completed, the same bytes
input unmapped: failed
protected: completed, the same bytes
output discarded: completed, the same bytes
input discarded: completed, other bytes
output moved: failed, untouched
a child wrote its copy: completed, the same bytes
after their owner: failed
afterwards: completed, the same bytes
"""
REASON = re.compile(r"host memory at 0x[0-9a-f]+ .*the program has no such page any more: it unmapped or moved it, or ended")


def test_a_model_over_the_programs_own_pages(user: Runner) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        place = Path(folder)
        place.chmod(0o777)
        for name, content in small_model().files().items():
            (place / name).write_bytes(content)
        log = place / "log"
        done = user.run("--log", str(log), "--", str(compiled("user_pages.c", place)), folder)
        assert (done.stdout, done.returncode) == (EXPECTED, 0), done.stderr
        # The program goes on before its die has written why.
        assert eventually(lambda: len(REASON.findall(log.read_text())) >= 3)
