"""Which kernel's answers a node gives."""

from fauxdna.abi.uapi_next import Level

__all__ = ["Level"]
