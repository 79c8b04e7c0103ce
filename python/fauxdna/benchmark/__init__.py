"""The measurements of ``fauxdna bench``: each stands beside a named peer, taken in the same run."""

from ._doorbell import doorbell
from ._exec import execution
from ._gemm import gemm
from ._guest import guest
from ._model import model, snr_db

__all__ = ["doorbell", "execution", "gemm", "guest", "model", "snr_db"]
