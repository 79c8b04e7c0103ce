"""A vfio-user server: any function of a die on a Unix socket, for QEMU's ``vfio-user-pci``, other VMMs, and our own driver."""

from .server import Function, VfioUserServer
from .session import Statistics

__all__ = ["Function", "Statistics", "VfioUserServer"]
