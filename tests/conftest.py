"""Hypothesis for all tests: the same examples in every run and no claim about speed, so that a red run is a reason to look.

Others are tried with ``pytest --hypothesis-profile=default``.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")
