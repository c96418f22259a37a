"""A bad network between two parties: a proxy that delays, cuts, and goes silent."""

import asyncio
import random
import threading


class Proxy:
    """Listens at one address and passes bytes on to another; a test sets what goes wrong:

    delay_s      each piece waits for up to so long
    cut_after    a connection is cut after about so many bytes, in the middle of a message
    silent       "there", "back" or "both": nothing arrives in that direction, and nobody is told

    Addresses are paths of unix sockets or (host, port). What went silent arrives when it is
    healed, unless the connection has been given up meanwhile: as over TCP.
    """

    def __init__(self, listen, target, seed):
        self.listen, self.target = listen, target
        self.random = random.Random(seed)
        self.connections, self.cuts = 0, 0
        self.heal_settings()
        self.loop = asyncio.new_event_loop()
        self.healed = asyncio.Event()
        self.tasks = set()
        started = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(started,), daemon=True)
        self.thread.start()
        assert started.wait(10)

    def heal_settings(self):
        self.delay_s, self.cut_after, self.silent = 0, None, None

    def run(self, started):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(
            asyncio.start_unix_server(self.serve, self.listen) if isinstance(self.listen, str)
            else asyncio.start_server(self.serve, *self.listen))
        started.set()
        self.loop.run_forever()

    @property
    def port(self):
        return self.server.sockets[0].getsockname()[1]

    async def connect(self):
        if isinstance(self.target, str):
            return await asyncio.open_unix_connection(self.target)
        return await asyncio.open_connection(*self.target)

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            far_reader, far_writer = await self.connect()
        except OSError:
            writer.transport.abort()
            return
        pipes = [asyncio.ensure_future(self.pass_on(reader, far_writer, "there")),
                 asyncio.ensure_future(self.pass_on(far_reader, writer, "back"))]
        self.tasks.update(pipes)
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        for pipe in pipes:
            pipe.cancel()
            self.tasks.discard(pipe)
        writer.transport.abort()
        far_writer.transport.abort()

    async def pass_on(self, reader, writer, direction):
        passed = 0
        limit = None
        while data := await reader.read(65536):
            while self.silent in (direction, "both"):
                self.healed.clear()
                await self.healed.wait()
            if self.delay_s:
                await asyncio.sleep(self.random.uniform(0, self.delay_s))
            if self.cut_after and limit is None:
                limit = passed + self.random.randint(1, 2 * self.cut_after)
            if self.cut_after and passed + len(data) > limit:
                writer.write(data[:limit - passed])
                await writer.drain()
                self.cuts += 1
                return
            writer.write(data)
            await writer.drain()
            passed += len(data)

    def heal(self):
        self.heal_settings()
        self.loop.call_soon_threadsafe(self.healed.set)

    def close(self):
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
