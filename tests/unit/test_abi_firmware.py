"""The firmware container, and the file names that Linux 7.2 asks for."""

from __future__ import annotations

from fauxdna.abi import firmware, pci


def test_container_layout() -> None:
    """The signature covers a 64-byte header and the payload; the magic reads as text in a hex dump."""
    assert firmware.HEADER.size == 64
    assert firmware.HEADER.pack(magic=firmware.MAGIC)[:8] == b"fauxdnaF"
    assert firmware.HEADER.offsets["payload_length"] == 20
    assert firmware.SIGNATURE_SIZE == 64  # RFC 8032, Ed25519
    assert firmware.NPU_MANIFEST.size == firmware.CERT_MANIFEST.size == 16


def test_file_names() -> None:
    """``aie4_request_firmware``: "amdnpu/%04x_%02x/%s" with the PF's device and revision; names of ``npu3_regs.c``."""
    assert f"amdnpu/{pci.DEVICE_PF:04x}_{pci.REVISION:02x}" == firmware.DIRECTORY
    assert (firmware.NPU_FILE, firmware.CERT_FILE) == ("npu.dev.sbin", "cert.dev.sbin")
