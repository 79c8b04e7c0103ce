"""What all tests start from.

Hypothesis gives the same examples in every run and claims nothing about speed, so that a red run is a reason to look; others are
tried with ``pytest --hypothesis-profile=default``.
"""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# A shell without job control ignores SIGINT for what it starts in the background. Tests send it to themselves and to others.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")
