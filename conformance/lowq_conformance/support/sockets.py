"""Sockets of the suite's own, which wait as long as it takes, whatever a queue has set for all sockets."""

from __future__ import annotations

import socket


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a new connection."""
    ends = socket.socketpair()
    for end in ends:
        end.settimeout(None)  # of the file, too, that another process may be given
    return ends


def take_over(number: int) -> socket.socket:
    """The socket that this process was given with that number."""
    own = socket.socket(fileno=number)
    own.settimeout(None)
    return own
