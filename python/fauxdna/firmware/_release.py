"""This package's own firmware release: the npu and cert images that its dies run."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fauxdna.abi import array, bars, messages, pci
from fauxdna.abi import firmware as abi
from fauxdna.abi.firmware import FirmwareKind, NpuFeature

from ._container import Image, build, verify
from ._keys import development_key, development_public_key, load_private_key, load_public_key

RELEASE = (messages.PROTOCOL_5_10.major, messages.PROTOCOL_5_10.minor)


def npu_manifest(
    *,
    features: NpuFeature = NpuFeature.SRIOV,
    vf_limit: int = pci.TOTAL_VFS,
    context_limit: int = bars.DOORBELL_PAGES,
) -> bytes:
    """Payload of a management firmware image: what it offers, and its limits."""
    return abi.NPU_MANIFEST.pack(features=features, vf_limit=vf_limit, context_limit=context_limit)


def cert_manifest(*, opcode_table: tuple[int, int] = abi.OPCODE_TABLE, columns: int = array.COLUMNS) -> bytes:
    """Payload of a micro-controller firmware image: the opcodes it interprets, and on how many columns it runs."""
    return abi.CERT_MANIFEST.pack(opcode_table_major=opcode_table[0], opcode_table_minor=opcode_table[1], columns=columns)


def build_images(key: bytes | None = None) -> dict[str, bytes]:
    """The release's images by file name, signed with ``key`` (PEM) or the development key. The bytes are always the same."""
    return _build() if key is None else _sign(load_private_key(key))


@cache
def _build() -> dict[str, bytes]:
    return _sign(development_key())


def _sign(key: Ed25519PrivateKey) -> dict[str, bytes]:
    label = f"fauxdna {RELEASE[0]}.{RELEASE[1]}"
    return {
        abi.NPU_FILE: build(FirmwareKind.NPU, npu_manifest(), key, protocol=RELEASE, name=f"{label} npu"),
        abi.CERT_FILE: build(FirmwareKind.CERT, cert_manifest(), key, protocol=RELEASE, name=f"{label} cert"),
    }


def verify_image(data: bytes, key: bytes | None = None) -> dict[str, str | int]:
    """Facts of the image in ``data`` if ``key`` (PEM, public or private) or the development key signed it.

    Raises:
        FirmwareError: as the PSP would refuse it.
    """
    image: Image = verify(data, development_public_key() if key is None else load_public_key(key))
    facts: dict[str, str | int] = {
        "kind": image.kind.name.lower(),
        "build": image.build,
        "protocol": f"{image.protocol[0]}.{image.protocol[1]}",
        "device": f"{image.device_id:04x}",
        "revision": f"{image.revision_id:#04x}",
        "length": image.length,
        "trailing_bytes": len(data) - image.length,
    }
    manifest = abi.NPU_MANIFEST if image.kind is FirmwareKind.NPU else abi.CERT_MANIFEST
    if len(image.payload) == manifest.size:
        values = manifest.unpack(image.payload)
        facts.update({name: value for name, value in values.items() if not name.startswith("reserved")})
    return facts
