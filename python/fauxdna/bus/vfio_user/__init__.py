"""The bus over vfio-user sockets: a client for our own driver, and the framing that client and server share."""

from .client import VfioUserBus, VfioUserHost

__all__ = ["VfioUserBus", "VfioUserHost"]
