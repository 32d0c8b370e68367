"""A server that keeps one queue, a program of its own: one JSON request a line, one JSON answer a line.

All that changes the queue is a line of its journal, with the instant at which it was done, before it is answered; who
starts over does all of it again. So what was answered is there, and a request that comes twice, under one number of
one client, is done once and answered twice. It ends when its folder is gone, or when nobody was there for a while.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

Request = dict[str, Any]
LOOKS = 0.2
"""Seconds after which the server looks whether its folder is still there."""
ALONE = 60.0
"""Seconds without a client after which it ends."""
ADDRESS, JOURNAL, SERVING = "address", "journal", "serving"
"""Files of the folder: where the server is, what was done, and what it has locked as long as it lives."""


class LineServer:
    """The queue, and who is connected."""

    def __init__(self, folder: str, port: int) -> None:
        self.folder = folder
        self.tasks: dict[int, dict[str, Any]] = {}
        self.last, self.given, self.offset = 0, 0, 0
        self.answers: dict[str, tuple[int, Any]] = {}
        """The latest answer to each client, with the number of its request."""
        self.waiting: list[tuple[socket.socket, Request, int]] = []
        self.parts: dict[socket.socket, bytes] = {}
        self.journal = open(os.path.join(folder, JOURNAL), "ab+", buffering=0)  # noqa: SIM115  # until this process ends
        self.replay()
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)

    # what is kept

    def replay(self) -> None:
        """All that stands in the journal was done again; a line that was cut off was answered to nobody."""
        self.journal.seek(0)
        data = self.journal.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.journal.truncate(len(whole))
        for line in whole.splitlines():
            request = json.loads(line)
            self.answers[request["client"]] = request["number"], self.do(request, request["now"])

    def keep(self, request: Request, now: int) -> None:
        """The request was done at that instant, and will have been after any kill."""
        self.journal.write(json.dumps({**request, "now": now}).encode() + b"\n")

    def now(self) -> int:
        """The queue's clock, in microseconds."""
        return time.time_ns() // 1000 + self.offset

    def execute(self, request: Request) -> Any:
        """The answer to a request, which is done now unless it was done before; None: not yet, for it waits."""
        number, answer = self.answers.get(request["client"], (0, None))
        if number > request["number"]:
            return {"refused": "it came too late: its client has asked for something else since"}
        if number < request["number"]:
            now = self.now()
            answer = self.do(request, now)
            if request["do"] == "claim" and "task" not in answer:
                return answer
            self.keep(request, now)
            self.answers[request["client"]] = request["number"], answer
        return answer

    def do(self, request: Request, now: int) -> Any:
        """What the request answers, when it is done at that instant."""
        verb = request["do"]
        if verb == "push":
            return {"ids": [self.add(work) for work in request["works"]]}
        if verb == "claim":
            return self.claim(request, now)
        if verb == "pass":
            self.offset += request["by"]
            return {}
        task = self.tasks.get(request["id"])
        if task is None or task["token"] != request["token"]:
            return {"refused": f"task {request['id']} is done, or somebody else has it"}
        if verb == "ack":
            del self.tasks[request["id"]]
        elif verb == "release":
            task["token"] = task["until"] = None
        elif verb == "extend":
            task["until"] = now + request["lease"]
        return {}

    def add(self, work: Any) -> int:
        """The work waits; its id."""
        self.last += 1
        self.tasks[self.last] = {"work": work, "token": None, "until": None, "attempts": 0}
        return self.last

    def claim(self, request: Request, now: int) -> Any:
        """The first task that nobody has, which is the client's now; or how long it is until a lease ends."""
        for id, task in self.tasks.items():
            if task["until"] is None or task["until"] <= now:
                self.given += 1
                task.update(token=self.given, until=now + request["lease"], attempts=task["attempts"] + 1)
                return {"task": [id, task["work"], task["token"], task["attempts"]]}
        return {}

    # who is connected

    def run(self) -> None:
        """Requests are answered until nobody can be there any more."""
        seen = time.monotonic()
        while os.path.isdir(self.folder):
            for key, _ in self.selector.select(self.nap()):
                if key.fileobj is self.listener:
                    with suppress(OSError):
                        connected, _ = self.listener.accept()
                        connected.settimeout(5)
                        self.parts[connected] = b""
                        self.selector.register(connected, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    self.read(key.fileobj)
            self.serve_waiting()
            seen = time.monotonic() if self.parts else seen
            if time.monotonic() - seen > ALONE:
                return

    def nap(self) -> float:
        """Seconds until somebody's time is over, or a lease ends that somebody waits for."""
        if not self.waiting:
            return LOOKS
        now = self.now()
        ends = [end for _, _, end in self.waiting]
        ends += [task["until"] for task in self.tasks.values() if task["until"] is not None]
        return max(0.0, min(LOOKS, (min(ends) - now) / 1e6))

    def read(self, connected: socket.socket) -> None:
        """What came over that connection was done and answered."""
        try:
            piece = connected.recv(1 << 16)
        except OSError:
            piece = b""
        if not piece:
            self.drop(connected)
            return
        *lines, self.parts[connected] = (self.parts[connected] + piece).split(b"\n")
        for line in lines:
            request = json.loads(line)
            answer = self.execute(request)
            if request["do"] == "claim" and "task" not in answer and request["wait"] > 0:
                self.waiting.append((connected, request, self.now() + request["wait"]))
            else:
                self.tell(connected, request, answer)

    def serve_waiting(self) -> None:
        """Whoever waits has a task, where there is one, or was told that there is none, when its time is over."""
        for waiter in list(self.waiting):
            connected, request, end = waiter
            answer = self.execute(request)
            if "task" in answer or self.now() >= end:
                self.waiting.remove(waiter)
                self.tell(connected, request, answer)

    def tell(self, connected: socket.socket, request: Request, answer: Any) -> None:
        """The client has the answer, or is gone."""
        try:
            connected.sendall(json.dumps({"number": request["number"], **answer}).encode() + b"\n")
        except OSError:
            self.drop(connected)

    def drop(self, connected: socket.socket) -> None:
        """Nobody is there any more."""
        self.waiting = [waiter for waiter in self.waiting if waiter[0] is not connected]
        if self.parts.pop(connected, None) is not None:
            self.selector.unregister(connected)
            connected.close()


def serve(kind: type[LineServer]) -> None:
    """Serve the queue of the folder, on the port, that the command line says; where, stands in a file there.

    Who starts it may be killed before it serves, and others start one, too: the first that comes is the only one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    folder, port = sys.argv[1:3]
    alone = os.open(os.path.join(folder, SERVING), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    server = kind(folder, int(port))
    new = os.path.join(folder, f"{ADDRESS}.new")
    with open(new, "w") as told:
        told.write(f"127.0.0.1:{server.listener.getsockname()[1]} {os.getpid()}")
    os.replace(new, os.path.join(folder, ADDRESS))
    server.run()
