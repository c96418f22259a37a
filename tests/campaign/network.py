"""A bad network between two parties: a proxy that delays, cuts, repeats and goes silent, and
networks of their own (namespaces) with cables that can be pulled out."""

import asyncio
import contextlib
import ctypes
import os
import random
import subprocess
import threading


class Proxy:
    """Listens at one address and passes bytes on to another; a test sets what goes wrong:

    delay_s      each piece waits for up to so long
    cut_after    a connection is cut after about so many bytes, in the middle of a message
    silent       "there", "back" or "both": nothing arrives in that direction, and nobody is told
    twice        of connections from now on: what goes there arrives a second time, over a second
                 connection and up to half a second late; what is answered there, nobody hears

    Addresses are paths of unix sockets or (host, port). What went silent arrives when it is
    healed, unless the connection has been given up meanwhile: as over TCP. A proxy may listen
    in one network and reach its target in another.
    """

    def __init__(self, listen, target, seed, network=None, target_network=None):
        self.listen, self.target = listen, target
        self.network, self.target_network = network, target_network or network
        self.random = random.Random(seed)
        self.connections, self.cuts, self.repeated = 0, 0, 0
        self.heal_settings()
        self.loop = asyncio.new_event_loop()
        self.healed = asyncio.Event()
        self.tasks = set()
        started = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(started,), daemon=True)
        self.thread.start()
        assert started.wait(10)

    def heal_settings(self):
        self.delay_s, self.cut_after, self.silent, self.twice = 0, None, None, False

    def run(self, started):
        if self.network:
            enter(self.network)
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(
            asyncio.start_unix_server(self.serve, self.listen) if isinstance(self.listen, str)
            else asyncio.start_server(self.serve, *self.listen))
        if self.target_network:
            enter(self.target_network)
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
        echo = await self.second_connection() if self.twice else None
        pipes = [asyncio.ensure_future(self.pass_on(reader, far_writer, "there", echo)),
                 asyncio.ensure_future(self.pass_on(far_reader, writer, "back"))]
        self.tasks.update(pipes)
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        for pipe in pipes:
            pipe.cancel()
            self.tasks.discard(pipe)
        writer.transport.abort()
        far_writer.transport.abort()
        if echo:
            echo.put_nowait(None)

    async def second_connection(self):
        """A queue: what is put there arrives late, and None is the end of it."""
        pieces = asyncio.Queue()
        reader, writer = await self.connect()

        async def repeat():
            try:
                while data := await pieces.get():
                    await asyncio.sleep(self.random.uniform(0, 0.5))
                    writer.write(data)
                    await writer.drain()
                    self.repeated += 1
            except OSError:
                pass  # the other side has hung up: it wants no more of this
            finally:
                writer.transport.abort()

        async def hear_nothing():
            with contextlib.suppress(OSError):
                while await reader.read(65536):
                    pass
        for work in (repeat(), hear_nothing()):
            task = asyncio.ensure_future(work)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return pieces

    async def pass_on(self, reader, writer, direction, echo=None):
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
            if echo:
                echo.put_nowait(data)
            await writer.drain()
            passed += len(data)

    def hang_up(self):
        """Every connection there is; whoever needs one opens another."""
        def cancel():
            for task in self.tasks:
                task.cancel()
        self.loop.call_soon_threadsafe(cancel)

    def heal(self):
        self.heal_settings()
        self.loop.call_soon_threadsafe(self.healed.set)

    def close(self):
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


CLONE_NEWNET = 0x40000000


class NotPermitted(Exception):
    """This machine does not let us make networks."""


def enter(network):
    """From here on this thread's new sockets are in that network."""
    with open(f"/run/netns/{network}", encoding="ascii") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"enter the network {network}")


def ip(*words):
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NotPermitted("there is no `ip' (Debian: iproute2)") from None
    if done.returncode != 0:
        raise NotPermitted(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Cable:
    """Joins two networks, which see nothing else: addresses near and far, one for each end."""

    def __init__(self, near, far, number):
        self.near, self.name = near, f"cable{number}"
        self.near_address, self.far_address = f"10.77.{number}.1", f"10.77.{number}.2"
        ip("-n", near, "link", "add", self.name, "type", "veth", "peer", "name", "cable", "netns",
           far)
        ip("-n", near, "address", "add", f"{self.near_address}/30", "dev", self.name)
        ip("-n", far, "address", "add", f"{self.far_address}/30", "dev", "cable")
        ip("-n", far, "link", "set", "cable", "up")
        self.plug_in()

    def pull_out(self):
        ip("-n", self.near, "link", "set", self.name, "down")

    def plug_in(self):
        ip("-n", self.near, "link", "set", self.name, "up")


@contextlib.contextmanager
def networks(count):
    """Names of new networks, each with a loopback of its own and nothing else."""
    names = [f"assent-{os.getpid()}-{n}" for n in range(count)]
    made = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in made:
            ip("netns", "delete", name)
