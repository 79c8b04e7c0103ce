"""The simulated clock's rates and energies.

Clocks and the dense int8 rate are *derived* (AMD's newer driver computes TOPS = 4096 * columns * hclk, which is 512 int8 MAC per
cycle and core with four core rows); the rest is *chosen* so that reports have the right shape, and listed in docs/fidelity.md.
"""

from __future__ import annotations

from typing import Final

DPM_LEVELS: Final = ((400, 400), (960, 576), (1108, 576), (1200, 847), (1200, 1200))
"""(npuclk, hclk) in MHz for each DPM level; amd/xdna-driver npu3 DPM table."""
DPM_DEFAULT: Final = 4
HCLK_MHZ: Final = 1200

MACS_PER_CYCLE_S8: Final = 512
MACS_PER_CYCLE_S16: Final = 128
MACS_PER_CYCLE_DEPTHWISE: Final = 128
ELEMENTS_PER_CYCLE_8BIT: Final = 64
ELEMENTS_PER_CYCLE_F32: Final = 16
BYTES_PER_CYCLE_COPY: Final = 64
INSTRUCTION_CYCLES: Final = 8
"""Issue and set-up of one tile-program instruction."""
CORE_BUDGET_CYCLES: Final = 120_000_000
"""A tile program that gets no lock for this long (0.1 s at 1200 MHz) is stopped with Fault.BUDGET."""

STREAM_BYTES_PER_CYCLE: Final = 64
"""AIE4 stream switches are 512 bits wide (aie-codegen port tables)."""
HOST_BYTES_PER_CYCLE: Final = 16
"""One shim channel to host memory."""
BD_CYCLES: Final = 16
"""Start of a buffer descriptor."""
HOST_LATENCY_CYCLES: Final = 240
HOP_CYCLES: Final = 2
LOCK_CYCLES: Final = 4
UC_OPCODE_CYCLES: Final = 12
UC_REGISTER_CYCLES: Final = 24
UC_DMA_SETUP_CYCLES: Final = 64
UC_DMA_BYTES_PER_CYCLE: Final = 16
UC_PAGE_CYCLES: Final = 512
POLL_CYCLES: Final = 128
"""Between two reads of a polled register."""
POLL_TIMEOUT_CYCLES: Final = 1_200_000_000
"""A job that polls, or waits for a token or barrier, this long (1 s at 1200 MHz) ends its context with a timeout."""

PICOJOULE_PER_MAC_S8: Final = 0.12
PICOJOULE_PER_MAC_S16: Final = 0.4
PICOJOULE_PER_ELEMENT: Final = 0.8
PICOJOULE_PER_STREAM_BYTE: Final = 0.4
PICOJOULE_PER_HOST_BYTE: Final = 12.0
PICOJOULE_PER_UC_OPCODE: Final = 20.0
