"""The Runtime API's states, codes and error types, spoken to by a badly behaved runtime."""

import base64
import json
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth.base.http1 import HttpRequest
from hearth.model import limits
from hearth.model.ids import RequestId
from hearth.model.invocations import ResponseSource
from hearth.worker.runtime_api import Event, RuntimeApi, RuntimeState, event_headers, is_streamed

NEXT = ("GET", "/2018-06-01/runtime/invocation/next")
R1 = RequestId("r1")


class Answer:
    """A Responder that remembers."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""

    gone = False

    def on_gone(self, callback: Callable[[], None]) -> None: ...

    def send(self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        assert self.status is None, "answered twice"
        self.status, self.headers, self.body = status, dict(headers), body

    @property
    def error_type(self) -> str:
        return str(json.loads(self.body)["errorType"])


class Told:
    """What the environment was told, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []
        self.has_restore = False

    def runtime_ready(self) -> None:
        self.events.append(("ready",))

    def runtime_responded(self, payload: bytes) -> None:
        self.events.append(("responded", payload.decode()))

    def runtime_failed(self, payload: bytes, error_type: str) -> None:
        self.events.append(("failed", payload.decode(), error_type))

    def runtime_response_too_large(self) -> None:
        self.events.append(("too large",))

    def runtime_streams(self, source: ResponseSource, content_type: str | None) -> None:
        self.events.append(("streams", content_type or ""))

    def runtime_streamed(self, data: bytes) -> None:
        self.events.append(("streamed", data.decode()))

    def runtime_stream_broken(self) -> None:
        self.events.append(("broken",))

    def runtime_may_wait(self) -> bool:
        return self.has_restore

    def runtime_waits(self) -> None:
        self.events.append(("waits",))

    def runtime_restore_failed(self, payload: bytes, error_type: str) -> None:
        self.events.append(("restore failed", payload.decode(), error_type))

    def runtime_init_failed(self, payload: bytes, error_type: str) -> None:
        self.events.append(("init failed", payload.decode(), error_type))


class Scene:
    def __init__(self) -> None:
        self.told = Told()
        self.api = RuntimeApi(self.told)

    def call(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        trailers: dict[str, str] | None = None,
    ) -> Answer:
        answer = Answer()
        request = HttpRequest(method, target, headers or {}, body, trailers or {}, "")
        self.api.handle(request, answer)
        return answer

    def post(self, path: str, body: bytes = b"{}", **more: dict[str, str]) -> Answer:
        return self.call("POST", f"/2018-06-01/runtime/{path}", body, **more)

    def running(self) -> Answer:
        """Initialised, with event r1 delivered; returns what `next` got."""
        answer = self.call(*NEXT)
        self.api.deliver(event())
        return answer


def event() -> Event:
    return Event(R1, b'{"n": 1}', event_headers(R1, 1000, "arn:x", "Root=1", '{"custom":{}}'))


def test_next_waits_for_the_event_and_carries_its_headers() -> None:
    scene = Scene()
    answer = scene.call(*NEXT)
    assert not answer.headers, "held until there is an event"
    assert scene.told.events == [("ready",)]
    scene.api.deliver(event())
    assert (answer.status, answer.body) == (200, b'{"n": 1}')
    assert answer.headers["Lambda-Runtime-Aws-Request-Id"] == "r1"
    assert answer.headers["Lambda-Runtime-Deadline-Ms"] == "1000"
    assert answer.headers["Lambda-Runtime-Client-Context"] == '{"custom":{}}'


@pytest.mark.parametrize("verb", ["response", "error"])
def test_an_answer_may_ask_for_the_next_event_too(verb: str) -> None:
    scene = Scene()
    scene.running()
    answer = scene.post(f"invocation/r1/{verb}/next", b'"ok"')
    assert not answer.headers, "held until there is an event"
    told = ("responded", '"ok"') if verb == "response" else ("failed", '"ok"', "Function.Unknown")
    assert scene.told.events == [("ready",), told, ("ready",)]
    assert scene.api.state is RuntimeState.READY
    scene.api.deliver(event())
    assert (answer.status, answer.body) == (200, b'{"n": 1}')


def test_an_answer_that_is_refused_does_not_ask_for_the_next_event() -> None:
    scene = Scene()
    scene.running()
    assert scene.post("invocation/r2/response/next").status == 400
    large = scene.post("invocation/r1/response/next", bytes(7 * 1024 * 1024))
    assert large.status == 413
    assert scene.told.events == [("ready",), ("too large",)]
    assert scene.post("invocation/r1/other/next").status == 404


def test_a_response_is_accepted_once_and_next_makes_it_ready_again() -> None:
    scene = Scene()
    scene.running()
    accepted = scene.post("invocation/r1/response", b'"ok"')
    assert (accepted.status, json.loads(accepted.body)) == (202, {"status": "OK"})
    again = scene.post("invocation/r1/response", b'"twice"')
    assert (again.status, again.error_type) == (403, "InvalidStateTransition")
    scene.call(*NEXT)
    assert scene.told.events == [("ready",), ("responded", '"ok"'), ("ready",)]


def test_a_wrong_request_id_is_refused_and_changes_nothing() -> None:
    scene = Scene()
    scene.running()
    answer = scene.post("invocation/r2/response", b'"forged"')
    assert (answer.status, answer.error_type) == (400, "InvalidRequestID")
    assert scene.api.state is RuntimeState.RUNNING


def test_nothing_can_be_answered_before_the_first_event() -> None:
    answer = Scene().post("invocation/r1/response")
    assert (answer.status, answer.error_type) == (400, "InvalidRequestID")


def test_an_oversized_response_is_413_and_told() -> None:
    scene = Scene()
    scene.running()
    answer = scene.post("invocation/r1/response", b"x" * (limits.PAYLOAD_BYTES_MAX + 1))
    assert (answer.status, answer.error_type) == (413, "RequestEntityTooLarge")
    assert json.loads(answer.body)["errorMessage"] == (
        "Exceeded maximum allowed payload size (6291556 bytes)."
    )
    assert scene.told.events[-1] == ("too large",)


def test_an_error_keeps_its_type_only_if_the_platform_knows_the_form() -> None:
    for header, told in (
        ("Runtime.Broken", "Runtime.Broken"),
        ("Function.SomeError", "Function.SomeError"),
        ("ValueError", "Function.Unknown"),
        ("", "Function.Unknown"),
    ):
        scene = Scene()
        scene.running()
        headers = {"lambda-runtime-function-error-type": header}
        assert scene.post("invocation/r1/error", b'{"e":1}', headers=headers).status == 202
        assert scene.told.events[-1] == ("failed", '{"e":1}', told)


def test_an_init_error_is_told_and_nothing_is_served_after_it() -> None:
    scene = Scene()
    headers = {"lambda-runtime-function-error-type": "Runtime.ImportModuleError"}
    assert scene.post("init/error", b'{"m":1}', headers=headers).status == 202
    assert scene.told.events == [("init failed", '{"m":1}', "Runtime.ImportModuleError")]
    assert scene.call(*NEXT).status == 403


def test_an_init_error_after_the_first_next_is_an_illegal_transition() -> None:
    scene = Scene()
    scene.call(*NEXT)
    answer = scene.post("init/error")
    assert (answer.status, answer.error_type) == (403, "InvalidStateTransition")


def test_a_stream_that_breaks_off_is_a_function_error_with_its_trailers_body() -> None:
    scene = Scene()
    scene.running()
    answer = scene.post(
        "invocation/r1/response",
        b"half of it",
        headers={"lambda-runtime-function-response-mode": "streaming"},
        trailers={
            "lambda-runtime-function-error-type": "Runtime.StreamError",
            "lambda-runtime-function-error-body": base64.b64encode(b'{"broke":1}').decode(),
        },
    )
    assert answer.status == 202
    assert scene.told.events[-1] == ("failed", '{"broke":1}', "Runtime.StreamError")


def test_an_unknown_response_mode_is_refused() -> None:
    scene = Scene()
    scene.running()
    headers = {"lambda-runtime-function-response-mode": "telepathy"}
    answer = scene.post("invocation/r1/response", headers=headers)
    assert (answer.status, answer.error_type) == (400, "InvalidFunctionResponseMode")


@pytest.mark.parametrize(
    ("verb", "headers", "streamed"),
    [
        ("response", {"lambda-runtime-function-response-mode": "streaming"}, True),
        ("response", {"transfer-encoding": "chunked"}, True),
        ("response", {"content-length": "2"}, False),
        ("error", {"transfer-encoding": "chunked"}, False),
    ],
)
def test_a_response_in_chunks_is_a_stream_whether_it_says_so_or_not(
    verb: str, headers: dict[str, str], streamed: bool
) -> None:
    assert is_streamed(f"/2018-06-01/runtime/invocation/r1/{verb}", headers) is streamed


def test_the_newest_of_two_waiting_calls_gets_the_event() -> None:
    scene = Scene()
    lost, kept = scene.call(*NEXT), scene.call(*NEXT)
    scene.api.deliver(event())
    assert (lost.status, kept.status) == (None, 200)


def test_unknown_paths_are_404() -> None:
    scene = Scene()
    assert scene.call("GET", "/2018-06-01/runtime/nothing").status == 404
    assert scene.call("GET", "/2018-06-01/ping").body == b"pong"


def test_a_client_context_cannot_forge_headers() -> None:
    text = '{"a":\r\n"b\u00e9"}'
    headers = dict(event_headers(R1, 1, "arn", "Root=1", text))
    value = headers["Lambda-Runtime-Client-Context"]
    assert value.isascii()
    assert "\n" not in value
    assert json.loads(value) == {"a": "b\u00e9"}


CALLS = st.sampled_from(
    [
        NEXT,
        ("POST", "/2018-06-01/runtime/invocation/r1/response"),
        ("POST", "/2018-06-01/runtime/invocation/r1/error"),
        ("POST", "/2018-06-01/runtime/invocation/zz/response"),
        ("POST", "/2018-06-01/runtime/init/error"),
        ("DELETE", "/"),
    ]
)


@given(st.lists(CALLS | st.none(), max_size=40))
def test_no_order_of_calls_answers_one_invoke_twice(calls: list[tuple[str, str] | None]) -> None:
    scene = Scene()
    delivered = answered = 0
    for call in calls:
        if call is not None:
            scene.call(*call, b"{}")
        elif scene.api.state is RuntimeState.READY:
            scene.api.deliver(event())
            delivered += 1
        answered = sum(e[0] in {"responded", "failed"} for e in scene.told.events)
        assert answered <= delivered


RESTORE = ("GET", "/2018-06-01/runtime/restore/next")


def test_a_runtime_waits_to_be_restored_and_then_asks_for_its_first_event() -> None:
    scene = Scene()
    scene.told.has_restore = True
    waiting = scene.call(*RESTORE)
    assert waiting.status == 0 or not waiting.headers, "held until it is restored"
    assert scene.told.events == [("waits",)]
    assert scene.api.state is RuntimeState.RESTORE_READY
    assert scene.call(*NEXT).error_type == "InvalidStateTransition"
    scene.api.restore()
    assert waiting.status == 200
    scene.call(*NEXT)
    assert scene.told.events == [("waits",), ("ready",)]


def test_hooks_after_a_restore_may_fail_once() -> None:
    scene = Scene()
    scene.told.has_restore = True
    assert scene.post("restore/error").error_type == "InvalidStateTransition"
    scene.call(*RESTORE)
    scene.api.restore()
    headers = {"lambda-runtime-function-error-type": "Runtime.AfterRestoreError"}
    assert scene.post("restore/error", b'"why"', headers=headers).status == 202
    assert scene.told.events[-1] == ("restore failed", '"why"', "Runtime.AfterRestoreError")
    assert scene.post("restore/error").error_type == "InvalidStateTransition"
    assert scene.call(*NEXT).error_type == "InvalidStateTransition"


def test_one_that_may_be_forked_is_let_go_and_waits_again_if_it_cannot() -> None:
    scene = Scene()
    scene.told.has_restore = True
    first = scene.call(*RESTORE)
    scene.api.let_fork()
    assert first.status == 202
    assert scene.api.state is RuntimeState.RESTORE_READY
    again = scene.call(*RESTORE)
    scene.api.restore()
    assert again.status == 200
    scene.call(*NEXT)
    assert scene.told.events == [("waits",), ("ready",)]


def test_a_restore_that_came_before_it_waits_again_is_not_lost() -> None:
    scene = Scene()
    scene.told.has_restore = True
    scene.call(*RESTORE)
    scene.api.let_fork()
    scene.api.restore()
    assert scene.call(*RESTORE).status == 200
    assert scene.call(*RESTORE).error_type == "InvalidStateTransition", "it was told"


def test_there_is_no_restore_without_snapstart() -> None:
    scene = Scene()
    assert scene.call(*RESTORE).status == 404
    assert scene.api.state is RuntimeState.STARTED


def test_only_an_invoke_for_a_tenant_names_it() -> None:
    plain = event_headers(R1, 1, "arn", "trace", None)
    for_blue = event_headers(R1, 1, "arn", "trace", None, "blue")
    assert for_blue == [*plain, ("Lambda-Runtime-Aws-Tenant-Id", "blue")]


def test_a_client_context_is_never_read_anew() -> None:
    """Deeper than a parser in Python goes, at this place in the stack or another."""
    deep = "[" * 1_500 + "]" * 1_500
    headers = dict(event_headers(R1, 1, "arn", "Root=1", '{"\u00e9\U0001f600": ' + deep + "}"))
    value = headers["Lambda-Runtime-Client-Context"]
    assert value == r'{"\u00e9\ud83d\ude00": ' + deep + "}"
