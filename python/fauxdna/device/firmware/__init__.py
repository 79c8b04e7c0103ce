"""Management firmware: what answers in the mailboxes of PF and VFs. Which messages there are is ``abi.messages``' business."""

from .management import ManagementFirmware

__all__ = ["ManagementFirmware"]
