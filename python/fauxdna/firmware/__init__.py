"""Firmware images: building, signing and verifying the containers of :mod:`fauxdna.abi.firmware`.

An image is data: the release it belongs to, and a manifest from which the modelled firmware is configured. The development key
that lies beside this module is public; it signs the images that the package makes for itself, and a die trusts it unless it is
given another root key.
"""

from ._container import FirmwareError, Image, build, verify
from ._keys import development_key, development_public_key, key_id, load_private_key, load_public_key
from ._release import build_images, cert_manifest, image_loader, npu_manifest, verify_image

__all__ = [
    "FirmwareError",
    "Image",
    "build",
    "build_images",
    "cert_manifest",
    "development_key",
    "development_public_key",
    "image_loader",
    "key_id",
    "load_private_key",
    "load_public_key",
    "npu_manifest",
    "verify",
    "verify_image",
]
