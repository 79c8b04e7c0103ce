"""Puts an ELF's kernel into device memory as XRT does: code of all uCs in one BO, constants, scratch pad, patched addresses."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from fauxdna.abi.elf import CONTROL_CODE_SYMBOL, SCRATCH_PAD_SIZE, SCRATCH_PAD_SYMBOL
from fauxdna.abi.uapi import BoType
from fauxdna.accel import AccelFile
from fauxdna.artifact.elf import Kernel, Patcher
from fauxdna.errors import InvalidArgument

from ._buffer import Buffer


class Constants:
    """What all runs of a kernel in one context share: its constants that hold no addresses, and the scratch pad."""

    def __init__(self, file: AccelFile, kernel: Kernel, columns: int) -> None:
        self.kernel = kernel
        self.patched = {patch.target for patches in kernel.patches.values() for patch in patches if patch.target}
        """Symbols of constants that hold addresses: each in-flight run has its own copy of them."""
        self.addresses: dict[str, int] = {}
        with ExitStack() as undo:
            for symbol, data in kernel.constants.items():
                if symbol not in self.patched:
                    self.addresses[symbol] = self._add(undo, file, data, len(data))
            if SCRATCH_PAD_SYMBOL in kernel.patches:
                self.addresses[SCRATCH_PAD_SYMBOL] = self._add(undo, file, b"", SCRATCH_PAD_SIZE * columns)
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Gives the memory back; may be called twice."""
        self._undo.close()

    @staticmethod
    def _add(undo: ExitStack, file: AccelFile, data: bytes, size: int) -> int:
        buffer = undo.enter_context(Buffer(file, size, BoType.CMD))
        buffer.bytes[: len(data)] = np.frombuffer(data, np.uint8)
        return buffer.address


class LoadedKernel:
    """A kernel's control code in device memory, patched for one run at a time."""

    def __init__(self, file: AccelFile, constants: Constants) -> None:
        kernel = self.kernel = constants.kernel
        with ExitStack() as undo:
            addresses = dict(constants.addresses)
            code = undo.enter_context(Buffer(file, len(kernel.code), BoType.CMD))
            code.bytes[: len(kernel.code)] = np.frombuffer(kernel.code, np.uint8)
            self._patchers = [Patcher(kernel, code.bytes)]
            for symbol in constants.patched:
                data = kernel.constants[symbol]
                copy = undo.enter_context(Buffer(file, len(data), BoType.CMD))
                copy.bytes[: len(data)] = np.frombuffer(data, np.uint8)
                addresses[symbol] = copy.address
                self._patchers.append(Patcher(kernel, copy.bytes, symbol))
            self.entry = [(part.uc, code.address + part.offset) for part in kernel.ranges]
            """(uC, device address of its first page), for a packet."""
            for uc, address in self.entry:
                addresses[f"{CONTROL_CODE_SYMBOL}{uc}"] = address
            unknown = [symbol for symbol in kernel.patches if symbol not in addresses and not symbol.isdecimal()]
            if unknown:
                raise InvalidArgument(
                    f"kernel {kernel.name}:{kernel.instance} refers to {', '.join(unknown)}, which no section of the ELF holds",
                    "assemble it again, with all its sections",
                )
            for symbol, address in addresses.items():
                self._bind(symbol, address)
            self._bound: dict[int, int] = {}
            self._undo = undo.pop_all()

    def bind(self, argument: int, address: int) -> None:
        """Patches the device address of kernel argument ``argument`` in."""
        if self._bound.get(argument) != address:
            self._bind(str(argument), address)
            self._bound[argument] = address

    def close(self) -> None:
        """Gives the memory back; may be called twice."""
        self._undo.close()

    def _bind(self, symbol: str, address: int) -> None:
        for patcher in self._patchers:
            patcher.bind(symbol, address)
