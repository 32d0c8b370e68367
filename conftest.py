"""What all tests need of the process that they run in. (Not in tests/: mypy knows one module of that name.)"""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background so, and every process that a test starts would be as deaf.
    signal.signal(signal.SIGINT, signal.default_int_handler)
