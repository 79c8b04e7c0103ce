"""Any order of node operations: handles, mappings, exports, contexts and files keep their books."""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from fauxdna.abi.uapi import BoType, DeviceType
from fauxdna.accel import Mapping
from fauxdna.accel.local import LocalFile
from fauxdna.accel.machine import Machine
from fauxdna.errors import FauxdnaError
from fauxdna.firmware import image_loader
from fauxdna.serve import LocalDie

PAGE = 4096
FILES = 2


class Node(RuleBasedStateMachine):
    """Two open files of one VF."""

    handles = Bundle("handles")
    mappings = Bundle("mappings")
    descriptors = Bundle("descriptors")
    contexts = Bundle("contexts")

    def __init__(self) -> None:
        super().__init__()
        self.die = LocalDie()
        self.host = Machine(self.die, image_loader(), kick_fd=self.die.kick_fd)
        self.files: list[LocalFile] = [self.host.open() for _ in range(FILES)]
        self.manager = self.host.find(DeviceType.UMQ).memory
        self.open_handles: set[tuple[int, int]] = set()
        self.offsets: list[set[int]] = [set() for _ in range(FILES)]
        self.alive = 0

    @rule(
        target=handles, file=st.integers(0, FILES - 1), pages=st.integers(1, 3), kind=st.sampled_from([BoType.SHARE, BoType.CMD])
    )
    def create(self, file: int, pages: int, kind: BoType) -> tuple[int, int]:
        handle = self.files[file].create_bo(pages * PAGE, kind)
        assert (file, handle) not in self.open_handles
        self.open_handles.add((file, handle))
        offset = self.files[file].get_bo_info(handle).map_offset
        assert offset not in self.offsets[file]
        self.offsets[file].add(offset)
        return file, handle

    @rule(where=consumes(handles))
    def close_handle(self, where: tuple[int, int]) -> None:
        file, handle = where
        if where in self.open_handles:
            self.files[file].gem_close(handle)
            self.open_handles.remove(where)
        else:
            with pytest.raises(FauxdnaError):
                self.files[file].gem_close(handle)

    @rule(target=mappings, where=handles, value=st.integers(0, 255))
    def map(self, where: tuple[int, int], value: int) -> tuple[Mapping, int]:
        file, handle = where
        if where not in self.open_handles:
            return self.map((file, self._fresh(file)), value)
        mapping = self.files[file].mmap(PAGE, self.files[file].get_bo_info(handle).map_offset)
        mapping.memory[0] = value
        return mapping, value

    @rule(mapping=consumes(mappings))
    def unmap(self, mapping: tuple[Mapping, int]) -> None:
        # Memory is still there, whatever became of the handle.
        assert len(mapping[0].memory[:]) == PAGE

    @rule(target=descriptors, where=handles)
    def export(self, where: tuple[int, int]) -> int:
        file, handle = where
        if where not in self.open_handles:
            handle = self._fresh(file)
        return self.files[file].prime_handle_to_fd(handle)

    @rule(target=handles, fd=consumes(descriptors), file=st.integers(0, FILES - 1))
    def import_(self, fd: int, file: int) -> tuple[int, int]:
        handle = self.files[file].prime_fd_to_handle(fd)
        assert self.files[file].prime_fd_to_handle(fd) == handle
        os.close(fd)
        self.open_handles.add((file, handle))
        return file, handle

    @rule(target=contexts, where=handles)
    def create_context(self, where: tuple[int, int]) -> tuple[int, int]:
        file, handle = where
        if where not in self.open_handles:
            handle = self._fresh(file)
        return file, self.files[file].create_hwctx(handle, 4).handle

    @rule(where=consumes(contexts))
    def destroy_context(self, where: tuple[int, int]) -> None:
        self.files[where[0]].destroy_hwctx(where[1])

    @invariant()
    def books_agree(self) -> None:
        for file, handle in self.open_handles:
            info = self.files[file].get_bo_info(handle)
            assert info.xdna_addr >= 1 << 32
        assert self.manager.count >= len({self.files[f].get_bo_info(h).xdna_addr for f, h in self.open_handles})

    def teardown(self) -> None:
        for file in self.files:
            file.close()
        gc.collect()
        self.host.close()
        self.die.close()

    def _fresh(self, file: int) -> int:
        handle = self.files[file].create_bo(PAGE)
        self.open_handles.add((file, handle))
        self.offsets[file].add(self.files[file].get_bo_info(handle).map_offset)
        return handle


class TestNode(Node.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=25, stateful_step_count=40, deadline=None, derandomize=True)


def test_everything_is_given_back(host: Machine) -> None:
    function = host.find(DeviceType.UMQ)
    with host.open() as a, host.open() as b:
        bo = a.create_bo(PAGE)
        fd = a.prime_handle_to_fd(bo)
        b.prime_fd_to_handle(fd)
        os.close(fd)
        a.create_hwctx(bo, 4)
        b.mmap(PAGE, b.get_bo_info(1).map_offset)
    gc.collect()
    assert function.memory.count == function.memory.mapped_bytes == 0
