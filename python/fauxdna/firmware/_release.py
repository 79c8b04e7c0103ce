"""This package's own firmware release: the npu and cert images that its dies run."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fauxdna.abi import array, bars, pci
from fauxdna.abi import firmware as abi
from fauxdna.abi.firmware import FirmwareKind, NpuFeature
from fauxdna.abi.identity import NPU_VERSION
from fauxdna.abi.protocols import NEWEST

from ._container import Image, build, verify
from ._keys import development_key, development_public_key, load_private_key, load_public_key

RELEASE = (NEWEST.major, NEWEST.minor)
"""The mailbox protocol of the release; drivers of an earlier minor version are served as well."""
CERT_VERSION = (1, 0, 0, 1)
"""Major, minor, hotfix, build of the micro-controllers' firmware."""


def npu_manifest(
    *,
    features: NpuFeature = NpuFeature.SRIOV,
    vf_limit: int = pci.TOTAL_VFS,
    context_limit: int = bars.DOORBELL_PAGES,
    version: tuple[int, int, int, int] = NPU_VERSION,
) -> bytes:
    """Payload of a management firmware image: what it offers, and its limits."""
    major, minor, patch, number = version
    return abi.NPU_MANIFEST.pack(
        features=features,
        vf_limit=vf_limit,
        context_limit=context_limit,
        version_major=major,
        version_minor=minor,
        version_patch=patch,
        version_build=number,
    )


def cert_manifest(
    *,
    opcode_table: tuple[int, int] = abi.OPCODE_TABLE,
    columns: int = array.COLUMNS,
    version: tuple[int, int, int, int] = CERT_VERSION,
) -> bytes:
    """Payload of a micro-controller firmware image: the opcodes it interprets, and on how many columns it runs."""
    major, minor, hotfix, number = version
    return abi.CERT_MANIFEST.pack(
        opcode_table_major=opcode_table[0],
        opcode_table_minor=opcode_table[1],
        columns=columns,
        version_major=major,
        version_minor=minor,
        version_hotfix=hotfix,
        version_build=number,
    )


def build_images(key: bytes | None = None, protocol: tuple[int, int] = RELEASE) -> dict[str, bytes]:
    """The release's images by file name, signed with ``key`` (PEM) or the development key. The bytes are always the same.

    ``protocol``: the mailbox protocol they speak, of those in ``abi.protocols``.
    """
    return _build(protocol) if key is None else _sign(load_private_key(key), protocol)


def image_loader(images: Mapping[str, bytes] | None = None) -> Callable[[str], bytes]:
    """What a driver loads ``images`` (by file name; by default :func:`build_images`) with: gives the image at a path such as
    ``amdnpu/17f2_10/npu.dev.sbin``, whatever the directory, or raises ``FileNotFoundError``.
    """
    known = build_images() if images is None else images

    def load(path: str) -> bytes:
        name = path.rpartition("/")[2]
        if name not in known:
            raise FileNotFoundError(errno.ENOENT, "there is no such image", path)
        return known[name]

    return load


@cache
def _build(protocol: tuple[int, int]) -> dict[str, bytes]:
    return _sign(development_key(), protocol)


def _sign(key: Ed25519PrivateKey, protocol: tuple[int, int]) -> dict[str, bytes]:
    label = f"fauxdna {protocol[0]}.{protocol[1]}"
    return {
        abi.NPU_FILE: build(FirmwareKind.NPU, npu_manifest(), key, protocol=protocol, name=f"{label} npu"),
        abi.CERT_FILE: build(FirmwareKind.CERT, cert_manifest(), key, protocol=protocol, name=f"{label} cert"),
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
