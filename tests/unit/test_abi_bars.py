"""BAR registers, PSP, SMU and mailbox: values as Linux 7.2's amdxdna gives them."""

from __future__ import annotations

import itertools

from fauxdna.abi import bars, mailbox, psp, smu


def test_psp_registers() -> None:
    """``npu3_regs.c``: MPASP_C2PMSG_123/156/157/73_ALT_1 less MMNPU_APERTURE3_BASE, in BAR 4."""
    aperture = 0x3810000
    assert bars.PSP_BAR == 4
    assert 0x3810AEC - aperture == bars.PSP_COMMAND
    assert 0x3810B70 - aperture == bars.PSP_ARGUMENT0
    assert 0x3810B74 - aperture == bars.PSP_ARGUMENT1
    assert 0x3810A24 - aperture == bars.PSP_INTERRUPT


def test_smu_registers() -> None:
    """``npu3_regs.c``: MP1_C2PMSG_59/61/60_ALT_1 less MMNPU_APERTURE4_BASE, in BAR 5."""
    aperture = 0x3B10000
    assert bars.SMU_BAR == 5
    assert 0x3B109EC - aperture == bars.SMU_COMMAND
    assert 0x3B109F4 - aperture == bars.SMU_ARGUMENT
    assert 0x3B109F0 - aperture == bars.SMU_RESPONSE
    assert bars.SMU_INTERRUPT == 0


def test_mailbox_info() -> None:
    """``aie4_pci.c`` struct mailbox_info: 12 words and 4 reserved ones."""
    words = [
        "valid",
        "protocol_major",
        "protocol_minor",
        "x2i_tail_offset",
        "x2i_head_offset",
        "x2i_buffer_addr",
        "x2i_buffer_size",
        "i2x_tail_offset",
        "i2x_head_offset",
        "i2x_buffer_addr",
        "i2x_buffer_size",
        "i2x_msi_idx",
        "reserved",
    ]
    assert [bars.MAILBOX_INFO.offsets[name] for name in words] == [4 * index for index in range(13)]
    assert bars.MAILBOX_INFO.size == 64
    assert (bars.MAILBOX_BAR, bars.SRAM_BAR, bars.MAILBOX_INFO_OFFSET) == (0, 2, 0)


def test_sram_parts_do_not_overlap() -> None:
    """mailbox_info, x2i ring, i2x ring, doorbells, in this order; rings are powers of two, as xdna_mailbox_start_channel asks."""
    parts = [
        (bars.MAILBOX_INFO_OFFSET, bars.MAILBOX_INFO.size),
        (bars.X2I_RING, bars.RING_SIZE),
        (bars.I2X_RING, bars.RING_SIZE),
        (bars.DOORBELLS, bars.DOORBELL_PAGES * bars.PAGE_SIZE),
    ]
    for (start, size), (following, _) in itertools.pairwise(parts):
        assert start + size <= following
    assert parts[-1][0] + parts[-1][1] == bars.VF_BAR_SIZES[bars.SRAM_BAR] == bars.PF_BAR_SIZES[bars.SRAM_BAR]
    assert bars.RING_SIZE & (bars.RING_SIZE - 1) == 0
    # All 256 message ids under way at once need not fit, but one message of the longest kind (48 + 16 bytes) must, many times.
    assert bars.RING_SIZE >= 16 * 64


def test_psp_values() -> None:
    """``aie_psp.c``."""
    assert {command.name: command.value for command in psp.PspCommand} == {
        "VALIDATE": 1,
        "START": 2,
        "RELEASE_TMR": 3,
        "VALIDATE_CERT": 4,
    }
    assert (psp.PspResponse.CANCEL, psp.PspResponse.BAD_STATE) == (0xFFFF0002, 0xFFFF0007)
    assert psp.STATUS_READY == 0x80000000
    assert psp.NOTIFY == 0xD007BE11
    assert (psp.NPU_ALIGNMENT, psp.CERT_ALIGNMENT) == (0x10000, 0x8000)
    assert psp.SIZE_MASK == 0xFFFFFF


def test_smu_values() -> None:
    """``aie_smu.c``."""
    assert [command.value for command in smu.SmuCommand] == [3, 4, 5, 6, 7, 8]
    assert smu.SmuResult.OK == 1
    assert 0 not in list(smu.SmuResult)


def test_mailbox_values() -> None:
    """``amdxdna_mailbox.c``: struct xdna_msg_header, MSG_BODY_SZ GENMASK(10, 0), MSG_PROTO_VER GENMASK(23, 16)."""
    assert mailbox.HEADER.size == 16
    assert [mailbox.HEADER.offsets[name] for name in ("total_size", "size_version", "id", "opcode")] == [0, 4, 8, 12]
    assert mailbox.SIZE_VERSION.encode(size=0x7FF, version=1) == (0x107FF,)
    assert mailbox.TOMBSTONE == 0xDEADFACE
    assert (mailbox.ID_MAGIC, mailbox.ID_MAGIC_MASK) == (0x1D000000, 0xFF000000)
