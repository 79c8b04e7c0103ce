"""Unmodified Linux programs on the NPU: the sandbox they run in, and who answers their ioctls."""
