"""A sandbox's beginning and end, without processes: what of it is left."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from _usage import descriptors

from fauxdna.abi.uapi_next import Level
from fauxdna.accel.machine import Machine
from fauxdna.host import sandboxes
from fauxdna.host.sandboxes import Sandbox
from fauxdna.host.uapi import Hub


class Early:
    """A door whose last process has gone before it is open: its watch thread is faster than whoever made it."""

    def __init__(self, listener: int, files: Sequence[int], handler: Sandbox, *, completions: object) -> None:
        handler.ended()


def test_a_sandbox_that_ends_while_its_door_opens_keeps_no_door(host: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxes, "Door", Early)
    before, ended = descriptors(), list[Sandbox]()
    sandbox = Sandbox(
        os.memfd_create("listener"),
        [os.memfd_create("node")],
        [(host, next(name for name in host.nodes if name.endswith(".1")))],
        Level.LINUX_7_2,
        Hub(),
        ended.append,
    )
    sandbox.start()
    assert ended == [sandbox]
    assert sandbox._door is None, "nobody would close it"
    assert sandbox._service._door is None
    assert descriptors() <= before
