"""Who starts several programs in one sandbox? This, inside of it: `python -I -S supervisor.py`.

    supervisor.py API_ADDRESS PATH

It asks the worker for orders (`GET PATH/orders`, answered when there are some), starts and signals
processes, and posts what became of them: `PATH/started`, `PATH/failed`, `PATH/exited`, and what an
extension printed to `PATH/output`. The runtime's output goes the usual way, past it. When it ends,
the sandbox ends; so does it when the worker closes the Runtime API.

It has no more rights than what it starts, and it is not trusted more. Standard library only, and
little of it: its memory is the function's.
"""

import json
import os
import selectors
import signal
import socket
import sys

PIECE = 65536
LOG_VARIABLE = "_LAMBDA_TELEMETRY_LOG_FD"
LOG_FD = int(os.environ.get(LOG_VARIABLE, "-1"))  # noqa: TID251 - not Hearth's process
FDS_MAX = 1 << 12


class Connection:
    """One kept-alive HTTP/1.1 connection to the worker."""

    def __init__(self, address: str, path: str) -> None:
        host, _, port = address.rpartition(":")
        self.path = path
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def ask(self, method: str, name: str, body: bytes = b"") -> None:
        head = f"{method} {self.path}/{name} HTTP/1.1\r\nHost: worker\r\n"
        self.socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def read(self) -> "bytes | None":
        """One read; the body, if the answer is complete now."""
        data = self.socket.recv(PIECE)
        if not data:
            os._exit(0)  # the worker has ended this program
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = 0
        for line in self._buffer[:end].lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        if len(self._buffer) < end + 4 + length:
            return None
        body = self._buffer[end + 4 : end + 4 + length]
        self._buffer = self._buffer[end + 4 + length :]
        return body

    def tell(self, name: str, body: bytes) -> None:
        """Post, and wait until it was taken in."""
        self.ask("POST", name, body)
        while self.read() is None:
            pass


class Child:
    def __init__(self, name: str, pid: int, output: "int | None") -> None:
        self.name = name
        self.pid = pid
        self.output = output


class Supervisor:
    def __init__(self, address: str, path: str) -> None:
        self._orders = Connection(address, path)
        self._news = Connection(address, path)
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, Child] = {}

    def run(self) -> None:
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(wake, selectors.EVENT_READ, lambda: self._reap(wake))
        self._selector.register(self._orders.socket, selectors.EVENT_READ, self._obey)
        self._orders.ask("GET", "orders")
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _obey(self) -> None:
        body = self._orders.read()
        if body is None:
            return
        for order in json.loads(body):
            if order["do"] == "start":
                self._start(order)
            else:
                self._signal(order["name"], order["signal"])
        self._orders.ask("GET", "orders")

    def _signal(self, name: str, number: int) -> None:
        for child in self._children.values():
            if child.name == name:  # ours and not reaped: no other can have its pid
                for kill in (os.killpg, os.kill):  # the second: it has left its group
                    try:
                        kill(child.pid, number)
                    except (ProcessLookupError, PermissionError):
                        continue
                    break

    def _start(self, order: dict) -> None:  # type: ignore[type-arg]
        failed, failing = os.pipe2(os.O_CLOEXEC)
        output, writing = os.pipe2(os.O_CLOEXEC) if order["captured"] else (None, None)
        pid = os.fork()
        if pid == 0:
            become(order, failing, writing)
        os.close(failing)
        if writing is not None:
            os.close(writing)
        why = os.read(failed, 256)
        os.close(failed)
        child = self._children[pid] = Child(order["name"], pid, output)
        if output is not None:
            self._selector.register(output, selectors.EVENT_READ, lambda: self._relay(child))
        news = {"name": child.name, "errno": int(why or b"0")}
        self._news.tell("failed" if why else "started", json.dumps(news).encode())

    def _relay(self, child: Child) -> bool:
        """Pass on what it printed; False at the end of that."""
        if child.output is None:
            return False
        data = os.read(child.output, PIECE)
        if not data:
            self._selector.unregister(child.output)
            os.close(child.output)
            child.output = None
            return False
        self._news.tell(f"output?{child.name}", data)
        return True

    def _reap(self, wake: int) -> None:
        os.read(wake, 4096)
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is None:
                continue
            if child.output is not None:
                os.set_blocking(child.output, False)  # what it started may hold the other end
                try:
                    while self._relay(child):
                        pass
                except BlockingIOError:
                    os.set_blocking(child.output, True)
            news = {"name": child.name, "code": os.waitstatus_to_exitcode(status)}
            self._news.tell("exited", json.dumps(news).encode())


def become(order: dict, failing: int, output: "int | None") -> None:  # type: ignore[type-arg]
    """In the fork: turn into the program."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        if output is not None:
            os.dup2(output, 1)
            os.dup2(output, 2)
        environment = order["environment"]
        keep = [failing]
        if order["logs"] and LOG_FD > 0:
            keep.append(LOG_FD)
            environment[LOG_VARIABLE] = str(LOG_FD)
        low = 3
        for fd in sorted(keep):
            os.closerange(low, fd)
            low = fd + 1
        os.closerange(low, FDS_MAX)
        os.chdir(order["directory"])
        argv = order["argv"]
        os.execvpe(argv[0], argv, environment)  # noqa: S606
    except OSError as error:
        os.write(failing, str(error.errno).encode())
    finally:
        os._exit(1)


if __name__ == "__main__":
    Supervisor(sys.argv[1], sys.argv[2]).run()
