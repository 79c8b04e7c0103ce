"""The signed container: header, payload, Ed25519 signature."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fauxdna.abi import firmware as abi
from fauxdna.abi import pci
from fauxdna.abi.firmware import FirmwareKind

from ._keys import key_id


class FirmwareError(OSError):
    """An image that can't be used; ``strerror`` is the sentence.

    ``errno`` is ``EBADMSG`` for a malformed or short image, ``EKEYREJECTED`` for a wrong signature, ``ENODEV`` for another
    device's image.
    """


@dataclass(frozen=True)
class Image:
    """A verified image. ``length`` is the container's own, whatever follows it in memory."""

    kind: FirmwareKind
    device_id: int
    revision_id: int
    protocol: tuple[int, int]
    build: str
    payload: bytes
    length: int


def build(
    kind: FirmwareKind,
    payload: bytes,
    key: Ed25519PrivateKey,
    *,
    protocol: tuple[int, int],
    name: str,
    device_id: int = pci.DEVICE_PF,
    revision_id: int = pci.REVISION,
) -> bytes:
    """A signed image. The same arguments give the same bytes: Ed25519 signatures are deterministic."""
    label = name.encode()
    if len(label) > abi.HEADER.fields[-1].count:
        raise FirmwareError(errno.EINVAL, f"build name {name!r} is longer than {abi.HEADER.fields[-1].count} bytes")
    signed = (
        abi.HEADER.pack(
            magic=abi.MAGIC,
            container_version=abi.CONTAINER_VERSION,
            kind=kind,
            device_id=device_id,
            revision_id=revision_id,
            protocol_major=protocol[0],
            protocol_minor=protocol[1],
            payload_length=len(payload),
            key_id=tuple(key_id(key.public_key())),
            build=tuple(label.ljust(abi.HEADER.fields[-1].count, b"\0")),
        )
        + payload
    )
    return signed + key.sign(signed)


def verify(
    data: bytes,
    key: Ed25519PublicKey,
    *,
    kind: FirmwareKind | None = None,
    device_id: int = pci.DEVICE_PF,
    revision_id: int = pci.REVISION,
) -> Image:
    """The image at the start of ``data``, if ``key`` signed it, for this device and (if given) of this kind.

    Raises:
        FirmwareError: says what is wrong.
    """
    header_size = abi.HEADER.size
    if len(data) < header_size + abi.SIGNATURE_SIZE:
        raise FirmwareError(
            errno.EBADMSG, f"image is cut short: {len(data)} bytes, a container has at least {header_size + abi.SIGNATURE_SIZE}"
        )
    header = abi.HEADER.unpack(data)
    if header.magic != abi.MAGIC:
        raise FirmwareError(errno.EBADMSG, f"not a firmware image: magic {header.magic:#018x}, expected {abi.MAGIC:#018x}")
    if header.container_version != abi.CONTAINER_VERSION:
        raise FirmwareError(
            errno.EBADMSG, f"container version {header.container_version} is not known, only {abi.CONTAINER_VERSION} is"
        )
    signed_size = header_size + header.payload_length
    length = signed_size + abi.SIGNATURE_SIZE
    if length > len(data):
        raise FirmwareError(errno.EBADMSG, f"image is cut short: it says {length} bytes, {len(data)} are there")
    if data[_key_id_slice()] != key_id(key):
        raise FirmwareError(
            errno.EKEYREJECTED,
            f"signed with key {data[_key_id_slice()].hex()}, the device trusts {key_id(key).hex()}",
        )
    try:
        key.verify(data[signed_size:length], data[:signed_size])
    except InvalidSignature:
        raise FirmwareError(errno.EKEYREJECTED, "signature does not match: header or payload was changed") from None
    if kind is not None and header.kind != kind:
        raise FirmwareError(errno.EBADMSG, f"image kind {header.kind} given where {kind.name.lower()} ({kind.value}) is loaded")
    if (header.device_id, header.revision_id) != (device_id, revision_id):
        raise FirmwareError(
            errno.ENODEV,
            f"image is for device {header.device_id:04x} revision {header.revision_id:#x}, "
            f"this is {device_id:04x} revision {revision_id:#x}",
        )
    if header.kind not in set(FirmwareKind):
        raise FirmwareError(errno.EBADMSG, f"image kind {header.kind} is not known")
    label = data[abi.HEADER.offsets["build"] : header_size].rstrip(b"\0").decode(errors="replace")
    return Image(
        FirmwareKind(header.kind),
        header.device_id,
        header.revision_id,
        (header.protocol_major, header.protocol_minor),
        label,
        data[header_size:signed_size],
        length,
    )


def _key_id_slice() -> slice:
    start = abi.HEADER.offsets["key_id"]
    return slice(start, start + abi.KEY_ID_SIZE)
