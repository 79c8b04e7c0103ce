"""Firmware images: a signed container around a manifest. The format is this project's own (chosen).

    HEADER (64 bytes) | payload (``payload_length`` bytes) | Ed25519 signature of all before it (64 bytes)

An image carries its own length, because drivers round an image's size up and leave whatever lay in memory behind it. The payload
is the manifest that the modelled firmware is configured from: :data:`NPU_MANIFEST` or :data:`CERT_MANIFEST`.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from ._declare import Field, Struct

_SOURCE = "fauxdna"

MAGIC: Final = int.from_bytes(b"fauxdnaF", "little")
CONTAINER_VERSION: Final = 1
SIGNATURE_SIZE: Final = 64
KEY_ID_SIZE: Final = 8
"""First bytes of the SHA-256 of the raw public key: tells an image signed with another key from a damaged one."""


class FirmwareKind(IntEnum):
    """What an image is for."""

    NPU = 1
    """Management firmware, loaded by PSP VALIDATE."""
    CERT = 2
    """Micro-controller firmware, loaded by PSP VALIDATE_CERT."""


HEADER = Struct(
    "firmware_header",
    64,
    [
        Field("magic", "u64"),
        Field("container_version", "u16"),
        Field("kind", "u16", doc=":class:`FirmwareKind`"),
        Field("device_id", "u16", doc="PCI device id of the PF that may load it"),
        Field("revision_id", "u8"),
        Field("reserved0", "u8"),
        Field("protocol_major", "u16", doc="mailbox protocol of the release; npu and cert images have to agree"),
        Field("protocol_minor", "u16"),
        Field("payload_length", "u32"),
        Field("key_id", "u8", count=KEY_ID_SIZE),
        Field("build", "u8", count=32, doc="name of the build, UTF-8, padded with zeros"),
    ],
    source=_SOURCE,
)


class NpuFeature(IntFlag):
    """What management firmware offers beyond its protocol's messages."""

    SRIOV = 1
    """CREATE_VFS is answered; without it, with NOTSUPP."""


NPU_MANIFEST = Struct(
    "npu_manifest",
    16,
    [
        Field("features", "u32", doc=":class:`NpuFeature`"),
        Field("vf_limit", "u16", doc="VFs that CREATE_VFS may create"),
        Field("context_limit", "u16", doc="contexts of one VF"),
        Field("version_major", "u16", doc="of the firmware, as it tells drivers that ask"),
        Field("version_minor", "u16"),
        Field("version_patch", "u16"),
        Field("version_build", "u16"),
    ],
    source=_SOURCE,
)
CERT_MANIFEST = Struct(
    "cert_manifest",
    16,
    [
        Field("opcode_table_major", "u16"),
        Field("opcode_table_minor", "u16"),
        Field("columns", "u16", doc="columns whose micro-controllers it runs on"),
        Field("reserved0", "u16"),
        Field("version_major", "u8"),
        Field("version_minor", "u8"),
        Field("version_hotfix", "u8"),
        Field("version_build", "u8"),
        Field("reserved1", "u32"),
    ],
    source=_SOURCE,
)
OPCODE_TABLE: Final = (1, 0)
"""Version of the control-code opcode table in ``abi.control_code``."""

NPU_FILE: Final = "npu.dev.sbin"
"""Linux 7.2 ``npu3_regs.c`` ``npufw_path``."""
CERT_FILE: Final = "cert.dev.sbin"
"""Linux 7.2 ``npu3_regs.c`` ``certfw_path``."""
DIRECTORY: Final = "amdnpu/17f2_10"
"""Below ``/lib/firmware``: PF's device id and revision (``aie4_request_firmware``)."""
