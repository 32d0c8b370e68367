"""A worker of the ancestor `workqueue`, written from the description of its protocol and from nothing of lowq's.

    python old_worker.py --url http://127.0.0.1:5000 --delay 5 --logfile worker_log.txt

It asks ``/api/next`` for a task, appends the time and the payload to the log file, says to ``/api/complete`` that the
task with that id is done, waits, and begins again. Ctrl-C stops it; a server that is away is a message.
"""

import argparse
import json
import sys
import time
import urllib.error
import urllib.request


def say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="http://127.0.0.1:5000")
    parser.add_argument("--delay", type=float, default=5)
    parser.add_argument("--logfile", default="worker_log.txt")
    options = parser.parse_args()
    while True:
        try:
            one(options.url, options.logfile)
        except urllib.error.HTTPError as error:
            say(f"error {error.code}: {error.read().decode()}")
        except OSError as error:
            say(f"the server is away: {error}")
        time.sleep(options.delay)


def one(url: str, logfile: str) -> None:
    with urllib.request.urlopen(f"{url}/api/next", timeout=60) as answer:
        said = json.load(answer)
    if said["status"] != "ok":
        say(f"error: {said}")
        return
    task = said["task"]
    if task is None:
        return
    with open(logfile, "a", encoding="utf-8") as log:
        log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {json.dumps(task['payload'])}\n")
    body = json.dumps({"id": task["id"]}).encode()
    request = urllib.request.Request(f"{url}/api/complete", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        done = json.load(answer)
    if done["status"] != "ok":
        say(f"error: {done}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
