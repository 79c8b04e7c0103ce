"""The silicon and its firmware: a die with one PF and its VFs. Only ``fauxdna.serve`` imports this package.

Files mirror Linux 7.2's amdxdna from the other side of the bus: :mod:`.psp` and :mod:`.smu` hold registers, :mod:`.mailbox` the
rings, :mod:`.firmware` what answers there, :mod:`.pf` and :mod:`.vf` what a host sees of it all.
"""

from .die import Die

__all__ = ["Die"]
