"""An address that is taken is told with who has it. Real sockets, of this process."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hearth.app import port_owner
from hearth.app.listening import bind_all, endpoint_of, listen
from hearth.settings import Settings, StartRefused, read_settings


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def settings(**flags: str) -> Settings:
    return read_settings({"listen": "127.0.0.1:0", **flags}, {"HOME": "/nowhere"})


def test_a_taken_address_is_told_with_its_owner(taken: int) -> None:
    name = Path("/proc/self/comm").read_text().strip()
    with pytest.raises(StartRefused) as refused:
        bind_all(settings(listen=f"127.0.0.1:{taken}"))
    assert str(refused.value) == (
        f"Hearth cannot listen on 127.0.0.1:{taken}: {name} (pid {os.getpid()}) has it. "
        "Stop that, or choose another address with --listen; port 0 picks a free one."
    )


def test_another_hearth_is_told_with_the_command_that_stops_it(taken: int, tmp_path: Path) -> None:
    lock = tmp_path / "a state" / "run" / "hearth.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w"):
        assert port_owner.find(taken) == port_owner.PortOwner(
            os.getpid(), Path("/proc/self/comm").read_text().strip(), tmp_path / "a state"
        )
        with pytest.raises(StartRefused) as refused:
            bind_all(settings(metrics=f"127.0.0.1:{taken}"))
    assert str(refused.value) == (
        f"Hearth cannot listen on 127.0.0.1:{taken}: another Hearth (pid {os.getpid()}) has it. "
        f"Stop that with `hearth down --state '{tmp_path}/a state'`, or choose another address "
        "with --metrics; port 0 picks a free one."
    )


def test_nobody_connects_before_there_is_somebody_to_answer() -> None:
    addresses = bind_all(settings())
    try:
        address = addresses.front.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        assert port_owner.find(address[1]) is None, "it does not listen yet"
        listen(addresses.front, "--listen")
        socket.create_connection(address).close()
        assert endpoint_of(addresses.front) == f"http://127.0.0.1:{address[1]}"
    finally:
        addresses.close()


def test_of_two_who_bound_it_the_slower_one_is_refused() -> None:
    first = bind_all(settings())
    address = first.front.getsockname()
    second = bind_all(settings(listen=f"127.0.0.1:{address[1]}"))
    try:
        listen(first.front, "--listen")
        with pytest.raises(StartRefused, match=f"cannot listen on 127.0.0.1:{address[1]}: "):
            listen(second.front, "--listen")
    finally:
        first.close()
        second.close()
