"""What a test of an application with a queue needs, without pytest too. PYTEST_DONT_REWRITE"""

from lowq.testing.clock import ClockError, fake_clock

__all__ = ["ClockError", "fake_clock"]
