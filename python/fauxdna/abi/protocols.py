"""The management protocols that driver and firmware of this project speak."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .messages import PROTOCOL_5_10, Protocol
from .messages_5_24 import PROTOCOL_5_24

PROTOCOLS: Final[Mapping[tuple[int, int], Protocol]] = MappingProxyType(
    {(protocol.major, protocol.minor): protocol for protocol in (PROTOCOL_5_10, PROTOCOL_5_24)}
)
"""By (major, minor)."""
NEWEST: Final = PROTOCOLS[max(PROTOCOLS)]
