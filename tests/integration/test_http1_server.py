"""Does the HTTP server serve real clients over real sockets, on both event loops?"""

import asyncio
import http.client
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from hearth.base.http1 import Handler, HttpLimits, HttpRequest, HttpServer, Responder

WAIT_S = 60.0
BIG = bytes(range(256)) * 24_576  # 6 MiB

Runner = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Runner:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_bounded(scenario: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(scenario, WAIT_S))

    return run_bounded


class Held:
    """A handler that keeps its requests until the test answers them."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[HttpRequest, Responder]] = asyncio.Queue()

    def __call__(self, request: HttpRequest, responder: Responder) -> None:
        self.arrived.put_nowait((request, responder))


def echo(request: HttpRequest, responder: Responder) -> None:
    responder.send(200, [("X-Target", request.target), ("X-Peer", request.peer)], request.body)


@asynccontextmanager
async def serving(
    handler: Handler, limits: HttpLimits | None = None
) -> AsyncIterator[tuple[HttpServer, int]]:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    server = HttpServer(handler, limits or HttpLimits())
    await server.start(sock)
    try:
        yield server, port
    finally:
        await server.close()
        assert (server.connections, server.in_flight) == (0, 0)


class Client:
    """A raw connection, so that a test can be as rude as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, method: str, target: str = "/", body: bytes = b"") -> None:
        head = f"{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)

    async def receive(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split(" ")[1]), headers, body

    async def ended(self) -> bool:
        return await self.reader.read() == b""

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    """Bounded by the time limit of the whole scenario."""
    while not condition():  # noqa: ASYNC110 -- the server has no event for its own end
        await asyncio.sleep(0.005)


def test_one_connection_carries_many_requests(run: Runner) -> None:
    async def scenario() -> None:
        async with serving(echo) as (server, port):
            client = await Client.connect(port)
            name = client.writer.get_extra_info("sockname")
            for number in range(20):
                client.send("POST", f"/{number}", b"x" * number)
                status, headers, body = await client.receive()
                assert (status, headers["x-target"], body) == (200, f"/{number}", b"x" * number)
                assert headers["x-peer"] == f"{name[0]}:{name[1]}"
            assert server.connections == 1
            await client.close()

    run(scenario())


def test_pipelined_requests_are_answered_in_order_one_at_a_time(run: Runner) -> None:
    async def scenario() -> None:
        held = Held()
        async with serving(held) as (server, port):
            client = await Client.connect(port)
            for number in range(3):
                client.send("GET", f"/{number}")
            for number in range(3):
                request, responder = await held.arrived.get()
                assert request.target == f"/{number}"
                assert (server.in_flight, held.arrived.qsize()) == (1, 0)
                responder.send(200, [("X-Number", str(number))])
                assert (await client.receive())[1]["x-number"] == str(number)
            await client.close()

    run(scenario())


def test_pythons_own_client_is_served(run: Runner) -> None:
    def work(port: int) -> list[tuple[int, int]]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        seen = []
        for body in (b"small", BIG, iter([b"in ", b"chunks"])):
            connection.request("POST", "/", body, encode_chunked=not isinstance(body, bytes))
            response = connection.getresponse()
            seen.append((response.status, len(response.read())))
        connection.request("HEAD", "/")
        response = connection.getresponse()
        seen.append((response.status, len(response.read())))
        connection.close()
        return seen

    async def scenario() -> None:
        async with serving(echo) as (_, port):
            seen = await asyncio.to_thread(work, port)
        assert seen == [(200, 5), (200, len(BIG)), (200, 9), (200, 0)]

    run(scenario())


def test_a_large_response_to_a_slow_reader_holds_up_nobody_else(run: Runner) -> None:
    def handler(request: HttpRequest, responder: Responder) -> None:
        responder.send(200, (), BIG if request.target == "/big" else b"small")

    async def scenario() -> None:
        async with serving(handler) as (_, port):
            slow, quick = await Client.connect(port), await Client.connect(port)
            slow.send("GET", "/big")
            slow.send("GET", "/small")
            for _ in range(5):
                quick.send("GET")
                assert (await quick.receive())[2] == b"small"
            assert (await slow.receive())[2] == BIG
            assert (await slow.receive())[2] == b"small"
            await slow.close()
            await quick.close()

    run(scenario())


def test_a_client_that_never_reads_is_cut_off(run: Runner) -> None:
    def handler(_: HttpRequest, responder: Responder) -> None:
        responder.send(200, (), BIG * 4)

    async def scenario() -> None:
        async with serving(handler, HttpLimits(write_timeout_s=0.2)) as (server, port):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                await until(lambda: server.connections == 1)
                await until(lambda: server.connections == 0)

    run(scenario())


def test_a_client_that_disconnects_while_it_is_served_is_gone(run: Runner) -> None:
    async def scenario() -> None:
        held = Held()
        async with serving(held) as (server, port):
            client = await Client.connect(port)
            client.send("GET", "/next")
            _, responder = await held.arrived.get()
            told = asyncio.Event()
            responder.on_gone(told.set)
            assert (server.in_flight, responder.gone) == (1, False)
            await client.close()
            await told.wait()
            assert responder.gone
            assert (server.in_flight, server.connections) == (0, 0)
            responder.send(200, (), b"to nobody")

    run(scenario())


def test_a_slow_head_times_out_with_an_answer(run: Runner) -> None:
    async def scenario() -> None:
        async with serving(echo, HttpLimits(head_timeout_s=0.1)) as (_, port):
            client = await Client.connect(port)
            client.writer.write(b"GET / HT")
            status, headers, _ = await client.receive()
            assert (status, headers["connection"]) == (408, "close")
            assert await client.ended()
            await client.close()

    run(scenario())


def test_a_slow_body_times_out_with_an_answer(run: Runner) -> None:
    async def scenario() -> None:
        async with serving(echo, HttpLimits(body_timeout_s=0.1)) as (_, port):
            client = await Client.connect(port)
            client.writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
            assert (await client.receive())[0] == 408
            await client.close()

    run(scenario())


def test_an_idle_connection_is_closed(run: Runner) -> None:
    async def scenario() -> None:
        async with serving(echo, HttpLimits(idle_timeout_s=0.1)) as (_, port):
            client = await Client.connect(port)
            assert await client.ended()
            await client.close()

    run(scenario())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_too_much_can_read_why(run: Runner, chunked: bool) -> None:
    def work(port: int) -> int:
        # Sends its whole body before it reads, as most clients do.
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        body = iter([BIG] * 4) if chunked else BIG * 4
        connection.request("POST", "/", body, encode_chunked=chunked)
        status = connection.getresponse().status
        connection.close()
        return status

    async def scenario() -> None:
        async with serving(echo, HttpLimits(body_bytes_max=1_000)) as (server, port):
            assert await asyncio.to_thread(work, port) == 413
            await until(lambda: server.connections == 0)

    run(scenario())


def test_one_connection_too_many_is_told_so(run: Runner) -> None:
    async def scenario() -> None:
        held = Held()
        async with serving(held, HttpLimits(connections_max=1)) as (_, port):
            first = await Client.connect(port)
            first.send("GET")
            _, responder = await held.arrived.get()
            second = await Client.connect(port)
            assert (await second.receive())[0] == 503
            assert await second.ended()
            responder.send(200)
            assert (await first.receive())[0] == 200
            await first.close()
            await second.close()

    run(scenario())


def test_drain_finishes_what_is_in_flight_and_takes_nothing_new(run: Runner) -> None:
    async def scenario() -> None:
        held = Held()
        async with serving(held) as (server, port):
            idle, busy = await Client.connect(port), await Client.connect(port)
            busy.send("GET")
            _, responder = await held.arrived.get()
            await until(lambda: server.connections == 2)
            async with asyncio.TaskGroup() as group:
                draining = group.create_task(server.drain(WAIT_S))
                assert await idle.ended()
                with pytest.raises(ConnectionRefusedError):
                    await Client.connect(port)
                assert not draining.done()
                responder.send(200, (), BIG)
                status, headers, body = await busy.receive()
                assert (status, headers["connection"], body) == (200, "close", BIG)
                await draining
            assert await busy.ended()
            await idle.close()
            await busy.close()

    run(scenario())


def test_close_leaves_nobody_behind(run: Runner) -> None:
    async def scenario() -> None:
        held = Held()
        async with serving(held) as (server, port):
            client = await Client.connect(port)
            client.send("GET")
            _, responder = await held.arrived.get()
            await server.close()
            assert responder.gone
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await client.receive()
            client.writer.close()

    run(scenario())


def test_a_unix_socket_serves_too(run: Runner, tmp_path: Path) -> None:
    async def scenario() -> None:
        path = str(tmp_path / "socket")
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        server = HttpServer(echo, HttpLimits())
        await server.start(sock)
        client = Client(*await asyncio.open_unix_connection(path))
        client.send("POST", "/", b"body")
        status, headers, body = await client.receive()
        assert (status, headers["x-peer"], body) == (200, "", b"body")
        await server.drain(WAIT_S)
        assert await client.ended()
        await client.close()

    run(scenario())


Step = Callable[[Client], Awaitable[None]]


async def _half_a_chunk(client: Client) -> None:
    client.writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")


async def _nothing(_: Client) -> None:
    pass


async def _a_whole_request(client: Client) -> None:
    client.send("GET")


@pytest.mark.parametrize("step", [_half_a_chunk, _nothing, _a_whole_request])
def test_a_client_may_vanish_at_any_time(run: Runner, step: Step) -> None:
    async def scenario() -> None:
        held = Held()
        async with serving(held) as (server, port):
            client = await Client.connect(port)
            await step(client)
            await until(lambda: server.connections == 1)
            # A reset instead of an orderly end.
            sock = client.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            client.writer.transport.abort()
            await until(lambda: server.connections == 0)
            assert server.in_flight == 0

    run(scenario())
