"""Broken servers, each a few lines on the sound one."""

from __future__ import annotations

import socket
import time
from typing import Any

from lowq_conformance.queues.lines.server import LineServer, Request


class WritesLater(LineServer):
    """What was answered is written into the journal a second later, all together."""

    def __init__(self, folder: str, port: int) -> None:
        self.unwritten: list[tuple[Request, int]] = []
        self.since = 0.0
        super().__init__(folder, port)

    def keep(self, request: Request, now: int) -> None:
        self.since = self.since if self.unwritten else time.monotonic()
        self.unwritten.append((request, now))

    def serve_waiting(self) -> None:
        super().serve_waiting()
        if self.unwritten and time.monotonic() > self.since + 1:
            for request, now in self.unwritten:
                super().keep(request, now)
            self.unwritten.clear()


class TakesBackFromTheCut(LineServer):
    """Whose connection ends is taken to be gone: what it has in hand waits for others, though its lease runs."""

    def __init__(self, folder: str, port: int) -> None:
        self.clients: dict[socket.socket, str] = {}
        self.holders: dict[int, str] = {}
        super().__init__(folder, port)

    def do(self, request: Request, now: int) -> Any:
        answer = super().do(request, now)
        if "task" in answer:
            self.holders[answer["task"][0]] = request["client"]
        return answer

    def execute(self, request: Request) -> Any:
        self.client = request["client"]
        return super().execute(request)

    client = ""

    def read(self, connected: socket.socket) -> None:
        super().read(connected)
        if connected in self.parts:
            self.clients[connected] = self.client

    def drop(self, connected: socket.socket) -> None:
        client = self.clients.pop(connected, None)
        for id, task in self.tasks.items():
            if client is not None and self.holders.get(id) == client and task["until"] is not None:
                task["until"] = 0
        super().drop(connected)


class LosesWhatItHandsOut(LineServer):
    """A task that is handed out is forgotten, for whoever has it will say when it is done, and has got it."""

    def do(self, request: Request, now: int) -> Any:
        if request["do"] in ("ack", "extend", "release") and request["id"] in self.out:
            self.tasks[request["id"]] = self.out.pop(request["id"])
        answer = super().do(request, now)
        if "task" in answer:
            self.out[answer["task"][0]] = self.tasks.pop(answer["task"][0])
        return answer

    def __init__(self, folder: str, port: int) -> None:
        self.out: dict[int, dict[str, Any]] = {}
        super().__init__(folder, port)
