"""What holds for all tests: Hypothesis does not call a busy machine a failure."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("lowq", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lowq")
