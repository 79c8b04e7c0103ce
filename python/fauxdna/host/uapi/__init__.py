"""The accel UAPI as a service: what a kernel would do with the ioctls of programs, done in this process."""

from __future__ import annotations

from ._hub import Hub
from .service import OpenNode, Service

__all__ = ["Hub", "OpenNode", "Service"]
