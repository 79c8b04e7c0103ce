"""Who an AIE4 function is: PCI identity, names, and where VFs sit."""

# Imported before a program starts: no typing, no enum.
VENDOR_AMD = 0x1022
DEVICE_PF = 0x17F2
"""Linux 7.2 ``amdxdna_pci_drv.c``: ``dev_npu3_pf_info``."""
DEVICE_VF = 0x17F3
"""Linux 7.2 ``amdxdna_pci_drv.c``: ``dev_npu3_vf_info``."""
REVISION = 0x10
"""The only revision for which Linux 7.2 has an entry."""
CLASS_SIGNAL_PROCESSING = 0x118000
"""Base class 0x11, subclass 0x80 (other signal processing controller), interface 0."""

DEVICE_TYPE_UMQ = 1
"""``enum amdxdna_device_type``: a VF, which computes."""
DEVICE_TYPE_PF = 2
VBNV_PF = "RyzenAI-npu3-pf"
"""Linux 7.2 ``npu3_regs.c``: ``default_vbnv``."""
VBNV_VF = "RyzenAI-npu3-vf"

TOTAL_VFS = 64
FIRST_VF_OFFSET = 1
VF_STRIDE = 1
"""VF n (from 0) has the PF's routing id + FIRST_VF_OFFSET + n * VF_STRIDE (chosen)."""


NPU_VERSION = (1, 1, 0, 1)
"""Major, minor, patch, build of this package's own management firmware, which a die runs unless it is given another."""


def routing_id(bdf: str) -> int:
    """``bus << 8 | device << 3 | function`` of a name such as ``0000:05:00.0``; ``ValueError`` if it is none."""
    try:
        _domain, bus, rest = bdf.split(":")
        device, function = rest.split(".")
        parts = (int(bus, 16), int(device, 16), int(function, 16))
    except ValueError:
        raise ValueError(f"{bdf!r} is not a PCI address such as 0000:05:00.0") from None
    if not (parts[0] <= 0xFF and parts[1] <= 0x1F and parts[2] <= 7):
        raise ValueError(f"{bdf!r} is not a PCI address: bus up to ff, device up to 1f, function up to 7")
    return parts[0] << 8 | parts[1] << 3 | parts[2]


def vf_routing_id(pf: int, index: int, offset: int = FIRST_VF_OFFSET, stride: int = VF_STRIDE) -> int:
    """Routing id of VF ``index`` (from 0) of the PF with routing id ``pf`` (SR-IOV specification 2.1.2, modulo 2^16)."""
    return (pf + offset + index * stride) & 0xFFFF


def bdf(domain: int, routing: int) -> str:
    """The name of the function with a routing id."""
    return f"{domain:04x}:{routing >> 8 & 0xFF:02x}:{routing >> 3 & 0x1F:02x}.{routing & 7}"


def vf_bdf(pf: str, index: int) -> str:
    """The name of VF ``index`` (from 0) of the PF called ``pf``."""
    return bdf(int(pf[:4], 16), vf_routing_id(routing_id(pf), index))
