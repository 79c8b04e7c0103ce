"""Firmware images: building is deterministic, verifying refuses everything that was not signed so."""

from __future__ import annotations

import errno
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxdna.abi.firmware import FirmwareKind
from fauxdna.firmware import (
    FirmwareError,
    build,
    build_images,
    development_key,
    development_public_key,
    image_loader,
    npu_manifest,
    verify,
    verify_image,
)

OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_PEM = OTHER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
NPU = build_images()["npu.dev.sbin"]


def test_release_has_linux_file_names_and_the_same_bytes_each_time() -> None:
    assert sorted(build_images()) == ["cert.dev.sbin", "npu.dev.sbin"]
    assert build_images(None) == build_images()
    assert build_images(OTHER_PEM)["npu.dev.sbin"][:64] != NPU[:64]


def test_signature_is_ed25519_over_header_and_payload() -> None:
    """64-byte header, payload_length at byte 20, signature behind: checked with the library, not with our verify."""
    (length,) = struct.unpack_from("<I", NPU, 20)
    assert len(NPU) == 64 + length + 64
    development_key().public_key().verify(NPU[64 + length :], NPU[: 64 + length])


def test_facts() -> None:
    facts = verify_image(NPU + b"garbage")
    assert (facts["kind"], facts["device"], facts["revision"], facts["protocol"]) == ("npu", "17f2", "0x10", "5.24")
    assert facts["length"] == len(NPU)
    assert facts["trailing_bytes"] == 7
    assert facts["vf_limit"] == 64


def test_public_or_private_pem_verify() -> None:
    image = build_images(OTHER_PEM)["npu.dev.sbin"]
    public = OTHER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert verify_image(image, public) == verify_image(image, OTHER_PEM)
    with pytest.raises(FirmwareError, match="the device trusts"):
        verify_image(image)


@pytest.mark.parametrize("position", range(len(NPU)))
def test_every_changed_byte_is_found(position: int) -> None:
    damaged = bytearray(NPU)
    damaged[position] ^= 0x10
    with pytest.raises(FirmwareError):
        verify(bytes(damaged), development_public_key())


@pytest.mark.parametrize("length", [0, 1, 63, 64, 127, 128, len(NPU) - 1])
def test_short_images(length: int) -> None:
    with pytest.raises(FirmwareError, match="cut short") as caught:
        verify(NPU[:length], development_public_key())
    assert caught.value.errno == errno.EBADMSG


def test_other_signer_kind_and_device() -> None:
    key = development_public_key()
    with pytest.raises(FirmwareError, match="the device trusts") as caught:
        verify(build(FirmwareKind.NPU, npu_manifest(), OTHER, protocol=(5, 10), name="x"), key)
    assert caught.value.errno == errno.EKEYREJECTED
    with pytest.raises(FirmwareError, match="where cert"):
        verify(NPU, key, kind=FirmwareKind.CERT)
    image = build(FirmwareKind.NPU, npu_manifest(), development_key(), protocol=(5, 10), name="x", device_id=0x17F0)
    with pytest.raises(FirmwareError, match="device 17f0") as caught:
        verify(image, key)
    assert caught.value.errno == errno.ENODEV


def test_a_forged_key_id_does_not_help() -> None:
    """The key id is a hint: the right one on an image of another signer still fails the signature."""
    image = bytearray(build(FirmwareKind.NPU, npu_manifest(), OTHER, protocol=(5, 10), name="x"))
    image[24:32] = NPU[24:32]
    with pytest.raises(FirmwareError, match="signature does not match"):
        verify(bytes(image), development_public_key())


def test_bad_keys_and_names_are_refused_with_a_sentence() -> None:
    with pytest.raises(OSError, match="not a PEM private key"):
        build_images(b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")
    with pytest.raises(OSError, match="not a PEM public key"):
        verify_image(NPU, b"nonsense")
    with pytest.raises(FirmwareError, match="longer than 32 bytes"):
        build(FirmwareKind.NPU, b"", OTHER, protocol=(5, 10), name="n" * 33)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FirmwareError):
        verify(data, development_public_key())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(NPU) - 1), st.binary(min_size=1, max_size=8)), min_size=1), st.binary(max_size=64))
def test_patched_images_are_refused_or_the_same(patches: list[tuple[int, bytes]], tail: bytes) -> None:
    """Any patch of header, payload or signature is found; garbage behind the image does not matter."""
    image = bytearray(NPU)
    for offset, data in patches:
        image[offset : offset + len(data)] = data
    image = image[: len(NPU)]
    if bytes(image) == NPU:
        assert verify(NPU + tail, development_public_key()).length == len(NPU)
    else:
        with pytest.raises(FirmwareError):
            verify(bytes(image) + tail, development_public_key())


def test_a_loader_finds_images_whatever_the_directory_and_no_others() -> None:
    load = image_loader({"npu.dev.sbin": b"npu"})
    assert load("amdnpu/17f2_10/npu.dev.sbin") == load("npu.dev.sbin") == b"npu"
    with pytest.raises(FileNotFoundError, match=r"amdnpu/17f2_10/cert\.dev\.sbin"):
        load("amdnpu/17f2_10/cert.dev.sbin")
    assert image_loader()("amdnpu/17f2_10/cert.dev.sbin") == build_images()["cert.dev.sbin"]
