"""What happened, as JSON lines: written before or after the fact, never in hindsight.

    opened   sum                         the money there is
    begun    gtrid, kind, moves          moves: what it will store in each database, by rm
    asked    gtrid                       before the commit is sent
    told     gtrid, outcome              what an answer said
    audited  sum                         a consistent reading of all databases
    killed   who
    closed   sum, transfers, outcomes, prepared     what the databases hold at the end

Each line is one append, so that several processes may write one history and none of them loses
a line by being killed.
"""

import json
import os
import time


class History:
    def __init__(self, path):
        self.path = str(path)
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def note(self, event, **fields):
        line = {"event": event, "at": round(time.time(), 3), **fields}
        os.write(self.fd, json.dumps(line).encode() + b"\n")

    def begun(self):
        """The gtrids so far."""
        with open(self.path, encoding="utf-8") as lines:
            return [entry["gtrid"] for entry in map(json.loads, lines) if entry["event"] == "begun"]

    def close(self):
        os.close(self.fd)
