"""The first thing that runs in a Python function's sandbox: search path, then AWS's own client.

Runs under the function's interpreter with `-S`: nothing that the host has installed may leak in,
and `site` costs a third of a cold start. What `site` gives to everybody's code (`exit`, `quit`,
`help`) is put back. Search order as Lambda documents it: task root, layers, runtime, standard
library. https://docs.aws.amazon.com/lambda/latest/dg/python-package.html#python-package-searchpath

Either executed, or loaded once by a process that calls preload(), and main() in its forks. Such a
process knows no function: what depends on the environment belongs into main().
"""

import os
import sys

_READ_AT_IMPORT = ("AWS_LAMBDA_LOG_FORMAT", "AWS_LAMBDA_LOG_LEVEL")
"""Variables that AWS's client looks at when it is imported, and never again."""


_LOG_FD = 62  # as in AWS's environments

template = None
"""Set by a process that loads us, in a fork which may be forked again: `serve()` is called when its
init is over, and returns in each of its own forks, or because it cannot be forked."""


def preload() -> None:
    """Load what every function needs, and run once through an invoke: what the interpreter
    finds out or allocates at the first time, it need not in each fork."""
    import codecs
    import traceback  # noqa: F401

    import runtime_client  # type: ignore[import-not-found]
    from awslambdaric import bootstrap, lambda_literals  # noqa: F401
    from awslambdaric.lambda_runtime_client import LambdaRuntimeClient

    for name in ("latin-1", "idna"):
        codecs.lookup(name)
    _make_builtins()
    _rehearse(bootstrap, LambdaRuntimeClient, runtime_client, _REHEARSALS)


def warm() -> None:
    """Use what the first invoke will use: the first touch of a page, in a fork, copies it."""
    import runtime_client
    from awslambdaric import bootstrap
    from awslambdaric.lambda_runtime_client import LambdaRuntimeClient

    _rehearse(bootstrap, LambdaRuntimeClient, runtime_client, times=2)


def rehearse(directory: str) -> None:
    """Be a function from its import to the end of its first invoke, in a process that is thrown
    away: which pages that writes to is what another will need. `directory` is ours to write to."""
    import _socket

    import runtime_client

    with open(f"{directory}/rehearsed.py", "w") as module:  # noqa: PTH123 - imports less
        module.write("def handler(event, context):\n    return {'ok': True}\n")
    ours, theirs = _socket.socketpair()
    theirs.send(_NEXT)
    theirs.shutdown(_socket.SHUT_WR)  # there is no second event
    runtime_client._connection._socket = ours  # noqa: SLF001
    runtime_client._connection.is_direct = True  # noqa: SLF001
    os.environ["LAMBDA_TASK_ROOT"] = directory
    os.environ["_HANDLER"] = "rehearsed.handler"
    os.environ["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:9"
    try:
        main()
    except ConnectionError:
        theirs.close()


def main() -> None:
    task = os.environ["LAMBDA_TASK_ROOT"]
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    layers = sys.argv.pop(1) if len(sys.argv) > 1 else "/opt"  # without a sandbox: elsewhere
    first = [task, f"{layers}/python/lib/{version}/site-packages", f"{layers}/python"]
    sys.path[:] = first + [entry for entry in sys.path if entry not in first]
    _make_builtins()
    was_loaded = "awslambdaric.bootstrap" in sys.modules

    from awslambdaric import bootstrap
    from awslambdaric.lambda_runtime_client import LambdaRuntimeClient

    if was_loaded and any(name in os.environ for name in _READ_AT_IMPORT):
        import importlib

        importlib.reload(bootstrap)
    # AWS polls from a thread in newer Pythons, since its compiled transport would keep signals
    # from the function while it waits. Ours does not, and a thread per invoke is dear.
    os.dup2(2, 1)  # what is printed and what is logged stay in order
    # One log event for a record of several lines, in the order of what is printed to stderr.
    os.environ["_LAMBDA_TELEMETRY_LOG_FD"] = str(os.dup2(2, _LOG_FD, inheritable=False))
    client = LambdaRuntimeClient(os.environ["AWS_LAMBDA_RUNTIME_API"], False)
    client.restore_next = _wait_to_be_restored
    sys.excepthook = _tell_of_the_end
    bootstrap.run(os.environ["_HANDLER"], client)


def _tell_of_the_end(kind, error, trace) -> None:  # type: ignore[no-untyped-def]
    """Of what ends the process, from this file on: what has forked us is not the function's."""
    whole = trace
    while trace is not None and trace.tb_frame.f_code.co_filename != __file__:
        trace = trace.tb_next
    sys.__excepthook__(kind, error, trace or whole)


def _wait_to_be_restored() -> None:
    import runtime_client

    while not runtime_client.restore_next():
        serve = getattr(template, "serve", None)
        if serve is not None:
            serve()


def _make_builtins() -> None:
    import _sitebuiltins
    import builtins

    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()  # noqa: SLF001


def _rehearse(bootstrap, client_class, transport, times) -> None:  # type: ignore[no-untyped-def]
    """A few invokes of a handler that does nothing, over a pair of sockets."""
    import _socket

    ours, theirs = _socket.socketpair()
    client = client_class("127.0.0.1:9", False)
    transport._connection._socket = ours  # noqa: SLF001
    transport._connection.is_direct = True  # noqa: SLF001
    for _ in range(times):
        theirs.send(_NEXT)
        event = client.wait_next_invocation()
        bootstrap.handle_event_request(
            client,
            lambda event, _context: event,
            event.invoke_id,
            event.event_body,
            event.content_type,
            event.client_context,
            event.cognito_identity,
            event.invoked_function_arn,
            event.deadline_time_in_ms,
            event.tenant_id,
            bootstrap.StandardLogSink(),
            event.invocation_id,
        )
        theirs.recv(65536)
    transport._connection.close()  # noqa: SLF001
    theirs.close()


_NEXT = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Lambda-Runtime-Aws-Request-Id: 0\r\nLambda-Runtime-Deadline-Ms: 0\r\n"
    b"Lambda-Runtime-Invoked-Function-Arn: a\r\nLambda-Runtime-Trace-Id: t\r\n"
    b'Content-Length: 30\r\n\r\n{"a": [1, 2.5, "x", null, {}]}'
)
_REHEARSALS = 10  # the interpreter specialises what has run some times


if __name__ == "__main__":
    main()
