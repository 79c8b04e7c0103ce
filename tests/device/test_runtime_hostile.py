"""ELFs with any byte changed, through the whole line: named errors, and the next program is not harmed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from _doors import HandMadeQueue
from _matmul import DATA, K, M, N
from _patience import PATIENCE, PATIENCE_MS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fauxdna
from fauxdna.artifact import elf
from fauxdna.errors import CommandFailed, DeviceTimeout, InvalidArgument, OutOfSpace
from fauxdna.runtime import Npu

ELF = (DATA / "matmul.elf").read_bytes()
CODE = elf.parse(ELF).kernel().code
CODE_AT = ELF.find(CODE[:256])
CODE_LENGTH = int.from_bytes(CODE[8:10], "little")
A = np.random.default_rng(1).integers(-128, 128, (M, K)).astype(np.int8)
B = np.random.default_rng(2).integers(-128, 128, (K, N)).astype(np.int8)
many = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def npu() -> Iterator[Npu]:
    with fauxdna.open() as npu:
        yield npu


def survive(npu: Npu, image: bytes) -> None:
    """Runs the image; whatever it does, the good one works afterwards."""
    c = np.zeros((M, N), np.int32)
    with suppress(InvalidArgument, CommandFailed, OutOfSpace):
        npu.run_elf(image, [A, B, c], timeout_s=PATIENCE)
    c = np.zeros((M, N), np.int32)
    npu.run_elf(ELF, [A, B, c], timeout_s=PATIENCE)
    np.testing.assert_array_equal(c, A.astype(np.int64) @ B.astype(np.int64))


@many
@given(st.integers(0, CODE_LENGTH - 1), st.integers(0, 255))
def test_any_byte_of_the_control_code(npu: Npu, at: int, value: int) -> None:
    image = bytearray(ELF)
    image[CODE_AT + at] = value
    survive(npu, bytes(image))


@many
@given(st.integers(0, CODE_LENGTH // 4 - 1), st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF0000, 0x1000000]))
def test_any_word_of_the_control_code(npu: Npu, word: int, value: int) -> None:
    image = bytearray(ELF)
    struct.pack_into("<I", image, CODE_AT + 4 * word, value)
    survive(npu, bytes(image))


@many
@given(st.integers(0, len(ELF) - 1), st.integers(0, 255))
def test_any_byte_of_the_file(npu: Npu, at: int, value: int) -> None:
    image = bytearray(ELF)
    image[at] = value
    survive(npu, bytes(image))


@many
@given(st.integers(0, len(ELF)))
def test_any_length_of_the_file(npu: Npu, length: int) -> None:
    survive(npu, ELF[:length])


PACKETS = st.binary(min_size=64, max_size=64) | st.builds(
    lambda head, signal, data: head + signal + data,
    st.builds(bytes, st.tuples(*[st.sampled_from([0, 1, 2, 3, 24, 255])] * 8)),
    st.just(bytes(8)),
    st.binary(min_size=48, max_size=48),
)


@many
@given(st.lists(PACKETS, min_size=1, max_size=4), st.integers(0, 40))
def test_any_packets_and_any_write_index(npu: Npu, packets: list[bytes], ahead: int) -> None:
    bad = HandMadeQueue(npu.file, padded=False, tiles=4)
    for packet in packets:
        bad.put(packet)
    bad.sequence += ahead
    bad.put()
    with suppress(DeviceTimeout):
        npu.file.wait_cmd(bad.handle, len(packets) - 1, 200)
    good = HandMadeQueue(npu.file, padded=True, tiles=4)
    npu.file.wait_cmd(good.handle, good.put(), PATIENCE_MS)
    assert good.completion(0) == 4
    good.close()
    bad.close()
