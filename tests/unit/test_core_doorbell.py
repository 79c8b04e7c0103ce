"""The doorbell measurement: that it measures what it says, not how fast this host is."""

from __future__ import annotations

import os

import pytest

from fauxdna.benchmark import _doorbell, doorbell
from fauxdna.errors import Unsupported

TWO = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")


@TWO
def test_all_three_clients_are_measured() -> None:
    figures = doorbell(samples=300)
    assert figures["samples"] == 300
    assert 0 < figures["p50_ns"] <= figures["p99_ns"]
    assert 0 < figures["processes_p50_ns"] <= figures["processes_p99_ns"]
    assert figures["ratio"] == figures["eventfd_p50_ns"] / figures["p50_ns"]
    # Whatever the host, nothing is faster than the cache lines that it is made of.
    assert figures["p50_ns"] > figures["line_p50_ns"] / 2 > 0
    assert figures["mailbox_p50_ns"] > 0


@TWO
def test_a_packet_that_fails_is_not_a_sample() -> None:
    with _doorbell._die() as (shared, _), pytest.raises(OSError, match="completion word"):
        _doorbell._client(shared).measure(0x1000, 10)


def test_one_processor_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(Unsupported, match="another"):
        doorbell(10)
