"""Level ``next``: what a file does beyond Linux 7.2, as AMD's newer driver does it on AIE4 (amd/xdna-driver ``aie4_pci.c``):
GET_INFO, GET_ARRAY, SET_STATE and debug buffers, each value asked of firmware when it is asked for.
"""

from .device import attributes
from .operations import NextOperations, check_shape
from .streams import firmware_data, watches

__all__ = ["NextOperations", "attributes", "check_shape", "firmware_data", "watches"]
