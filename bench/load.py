"""A closed-loop load generator on raw sockets: the same for Hearth and for the floor.

    python load.py HOST:PORT CONNECTIONS SECONDS < request-bytes

Every connection sends the request, reads the whole answer, and sends again. Prints one JSON line:
invokes per second, p50 and p99 in microseconds, errors, and its own CPU per invoke.
"""

import json
import os
import selectors
import socket
import sys
import time

WARM_UP_S = 0.7


def main() -> None:
    address, connections, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    request = sys.stdin.buffer.read()
    host, _, port = address.rpartition(":")
    waiting = selectors.EpollSelector()
    for _ in range(connections):
        connection = socket.create_connection((host, int(port)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting.register(connection, selectors.EVENT_READ, [b"", time.perf_counter()])
        connection.sendall(request)
    run(waiting, request, WARM_UP_S)
    cpu = time.process_time()
    times, errors = run(waiting, request, seconds)
    cpu = time.process_time() - cpu
    times.sort()
    count = len(times)
    print(
        json.dumps(
            {
                "per_s": count / seconds,
                "p50_us": times[count // 2] * 1e6,
                "p99_us": times[min(count - 1, count * 99 // 100)] * 1e6,
                "count": count,
                "errors": errors,
                "warm_up_s": WARM_UP_S,
                "load_cpu_us": cpu / count * 1e6,
            }
        )
    )
    os._exit(0)


def run(
    waiting: selectors.EpollSelector, request: bytes, seconds: float
) -> tuple[list[float], int]:
    times: list[float] = []
    errors = 0
    clock = time.perf_counter
    end = clock() + seconds
    while clock() < end:
        for key, _ in waiting.select(1.0):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            data = connection.recv(65536)
            state = key.data
            if not data:
                sys.exit("the server closed a connection")
            state[0] += data
            head_end = state[0].find(b"\r\n\r\n")
            if head_end < 0:
                continue
            head = state[0][:head_end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(state[0]) < head_end + 4 + length:
                continue
            now = clock()
            times.append(now - state[1])
            if not head.startswith(b"http/1.1 200") or b"x-amz-function-error" in head:
                errors += 1
            state[0], state[1] = b"", now
            connection.sendall(request)
    return times, errors


main()
