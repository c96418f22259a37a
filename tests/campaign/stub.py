"""Agents that say yes at once: whatever a coordinator does when nobody else costs anything.

A stub speaks what doc/protocol.md says that an agent speaks: it accepts every registration, is
ready for every PREPARE, and has done every outcome in the reply to the very order. Asked for
results it keeps the request until its time is over, as an agent with no news would. It takes
no part in three-phase commit.
"""

import asyncio
import base64
import contextlib
import json
import struct
import threading

GREETING = b"\0SP\0\0\x31\0\0"


class Stub:
    def __init__(self, rm, folder):
        self.rm, self.socket = rm, folder / f"{rm}.sock"
        self.url = f"ipc://{self.socket}"
        self.done = 0  # outcomes
        self.tasks = set()  # the loop alone would let them be collected
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.run, daemon=True)
        started = threading.Event()
        self.loop.call_soon(started.set)
        self.server = self.loop.run_until_complete(
            asyncio.start_unix_server(self.serve, self.socket))
        self.thread.start()
        assert started.wait(10)

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def close(self):
        def end():
            self.server.close()
            for task in asyncio.all_tasks():
                task.cancel()
            self.loop.call_soon(self.loop.stop)
        self.loop.call_soon_threadsafe(end)
        self.thread.join(10)

    async def serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            writer.write(GREETING)
            await reader.readexactly(len(GREETING))
            while True:
                _, length = struct.unpack(">BQ", await reader.readexactly(9))
                message = await reader.readexactly(length)
                task = asyncio.ensure_future(self.answer(message, writer))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        writer.transport.abort()

    async def answer(self, message, writer):
        request = json.loads(message[4:])
        reply = {"ok": True, "agent": "1", "results": []}
        if request["op"] == "register":
            reply = self.registered()
        elif request["op"] == "results":
            await asyncio.sleep(request["wait_ms"] / 1000)
        elif request["op"] == "orders":
            reply["results"] = [self.obey(order) for order in request["orders"] if "gid" in order
                                or order["do"] == "recover"]
        body = message[:4] + json.dumps(reply).encode()
        writer.write(struct.pack(">BQ", 1, len(body)) + body)

    def registered(self):
        return {"ok": True, "rm": self.rm, "agent": "1", "beat": "1", "system_identifier": "1",
                "timeline": 1, "database": "stub", "server_version": "0"}

    def obey(self, order):
        if order["do"] == "recover":
            return {"is": "scanned", "number": order["number"]}
        if order["do"] == "prepare":
            return {"is": "ready", "gid": order["gid"], "xid": self.xid(order["gid"]), "beat": "1"}
        self.done += 1
        return {"is": "done", "gid": order["gid"], "beat": "1"}

    @staticmethod
    def xid(gid):
        """One of its own for every transaction: its number."""
        return base64.b64decode(gid.split("_")[1]).decode().rpartition(".")[2]
