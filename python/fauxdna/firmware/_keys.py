"""Ed25519 keys: the development key pair, and keys that users bring."""

from __future__ import annotations

import errno
import hashlib
from functools import cache
from importlib.resources import files

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from fauxdna.abi.firmware import KEY_ID_SIZE

_ANOTHER_KIND = "firmware images are signed with Ed25519, and this is another kind of key"


def key_id(key: Ed25519PublicKey) -> bytes:
    """What a header says of the key: the first bytes of the SHA-256 of the raw public key."""
    return hashlib.sha256(key.public_bytes_raw()).digest()[:KEY_ID_SIZE]


def load_private_key(pem: bytes) -> Ed25519PrivateKey:
    """The private key in ``pem`` (PKCS #8, no password); ``OSError`` with ``EINVAL`` if it is none."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise OSError(errno.EINVAL, "not a PEM private key without a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise OSError(errno.EINVAL, _ANOTHER_KIND)
    return key


def load_public_key(pem: bytes) -> Ed25519PublicKey:
    """The public key in ``pem``, which may hold a private key instead; ``OSError`` with ``EINVAL`` if it is none."""
    if b"PRIVATE KEY" in pem:
        return load_private_key(pem).public_key()
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise OSError(errno.EINVAL, "not a PEM public key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise OSError(errno.EINVAL, _ANOTHER_KIND)
    return key


@cache
def development_key() -> Ed25519PrivateKey:
    """The private key that everybody has. It protects nothing: it makes images that a default die accepts."""
    return load_private_key((files(__package__) / "development.key").read_bytes())


@cache
def development_public_key() -> Ed25519PublicKey:
    """What a default die trusts."""
    return load_public_key((files(__package__) / "development.pub").read_bytes())
