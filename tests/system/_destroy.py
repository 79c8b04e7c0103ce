"""``destroy.c``: what becomes of waits and commands when contexts or processes end, and what it prints on Linux 7.2."""

from __future__ import annotations

EXPECTED = """\
a wait for the context: destroyer waits and gets ok; waiter ok
a wait for another context: destroyer waits and gets ok; waiter ok
a wait in another file: destroyer does not wait and gets ok; waiter ok
destroyed twice: EINVAL
a wait with a timeout: destroyer ok; waiter ETIME
a wait that begins later: EINVAL
a signal: destroyer ok; waiter EINTR
a signal, system calls restarted: destroyer ok; waiter EINVAL
with commands queued: ok
exit with commands: ended
exit with a wait: ended
exit with a blocked destroyer: ended
killed with a wait: killed
killed with a blocked destroyer: killed
a new context: ok
"""
"""``amdxdna_hwctx_destroy_rcu``: the handle is erased first, then ``synchronize_srcu`` waits for the file's readers, which
``amdxdna_drm_wait_cmd_ioctl`` is from look-up to return. The test in the guest holds this against the kernel."""
