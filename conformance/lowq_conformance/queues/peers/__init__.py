"""Queues that others wrote, each in a harness that promises what its own documentation does: docs/peers.md."""

from lowq_conformance.queues.peers.catalogue import PEERS, Peer, harness_of

__all__ = ["PEERS", "Peer", "harness_of"]
