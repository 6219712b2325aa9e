"""The Extensions API's states, codes and error types, spoken to by badly behaved extensions."""

import uuid

import pytest

from fakes.inside import Answer, ask
from fakes.invokes import function_version
from hearth.worker.extension_api import ExtensionApi, invoke_event, shutdown_event
from hearth.worker.extension_states import STEPS, ExtensionState, Step

ROOT = "/2020-01-01/extension/"
FUNCTION = function_version()
EVENT = invoke_event("r1", 123, "arn:f", "Root=1")


class Scene:
    """An API whose external extension `ext` is being started."""

    def __init__(self, *external: str) -> None:
        self.told: list[str] = []
        self.api = ExtensionApi(FUNCTION, self)
        self.api.expect(external or ("ext",))
        self.identifiers: dict[str, str] = {}

    def extension_registered(self) -> None:
        self.told.append("registered")

    def extension_ready(self) -> None:
        self.told.append("ready")

    def register(
        self, name: str = "ext", events: object = ("INVOKE", "SHUTDOWN"), **headers: str
    ) -> Answer:
        names = {"Lambda-Extension-Name": name} if name else {}
        body = events if isinstance(events, bytes) else {"events": events}
        answer = ask(self.api.handle, "POST", ROOT + "register", body, {**names, **headers})
        self.identifiers[name] = answer.headers.get("Lambda-Extension-Identifier", "")
        return answer

    def call(self, method: str, path: str, name: str = "ext", **headers: str) -> Answer:
        who = {"Lambda-Extension-Identifier": self.identifiers.get(name, "")}
        return ask(self.api.handle, method, ROOT + path, None, {**who, **headers})

    def next(self, name: str = "ext") -> Answer:
        return self.call("GET", "event/next", name)

    def error(self, kind: str, name: str = "ext") -> Answer:
        headers = {"Lambda-Extension-Function-Error-Type": "Extension.Mine"}
        return self.call("POST", f"{kind}/error", name, **headers)

    @property
    def state(self) -> ExtensionState:
        found = self.api.find("ext")
        assert found is not None
        return found.state

    def reach(self, state: ExtensionState) -> "Scene":
        """Do what leads there."""
        if state is not ExtensionState.STARTED:
            self.register()
        if state in {ExtensionState.READY, ExtensionState.RUNNING}:
            self.next()
        if state is ExtensionState.RUNNING:
            self.api.close_registration()
            self.api.invoke(EVENT)
        if state is ExtensionState.INIT_ERROR:
            self.error("init")
        if state is ExtensionState.EXIT_ERROR:
            self.error("exit")
        assert self.state is state
        return self


def test_a_registration_is_answered_with_what_the_function_is() -> None:
    scene = Scene()
    answer = scene.register()
    assert answer.status == 200
    uuid.UUID(answer.headers["Lambda-Extension-Identifier"])
    assert answer.json == {
        "functionName": FUNCTION.key.name,
        "functionVersion": FUNCTION.version,
        "handler": FUNCTION.handler,
    }
    assert scene.told == ["registered"]


def test_the_account_is_told_to_whoever_asks_for_it() -> None:
    answer = Scene().register(**{"Lambda-Extension-Accept-Feature": "x, accountId"})
    assert answer.json["accountId"] == FUNCTION.key.account


@pytest.mark.parametrize(
    ("name", "events", "error_type"),
    [
        ("", (), "Extension.InvalidExtensionName"),
        ("ext", ("BOGUS",), "Extension.InvalidEventType"),
        ("internal", ("SHUTDOWN",), "Extension.InvalidEventType"),
        ("ext", b"no json", "InvalidRequestFormat"),
        ("ext", b'{"events": 5}', "InvalidRequestFormat"),
        ("ext", b'{"events": [], "configurationKeys": ["a"]}', "InvalidRequestFormat"),
    ],
)
def test_registrations_that_are_refused(name: str, events: object, error_type: str) -> None:
    scene = Scene()
    assert scene.register(name, events).error == (403, error_type)
    assert scene.told == []
    assert not scene.api.external_are_registered


def test_nobody_new_may_register_when_the_runtime_is_ready() -> None:
    scene = Scene()
    scene.register()
    scene.api.close_registration()
    assert scene.register("late", ("INVOKE",)).error == (403, "Extension.RegistrationClosed")


def test_there_are_ten_extensions_at_most() -> None:
    scene = Scene(*(f"e{n}" for n in range(9)))
    assert scene.register("internal", ("INVOKE",)).status == 200
    answer = scene.register("eleventh", ("INVOKE",))
    assert answer.error == (403, "Extension.TooManyExtensions")
    assert answer.json["errorMessage"] == "Extension limit (10) reached"


def test_a_name_belongs_to_one_extension() -> None:
    scene = Scene()
    scene.register("internal", ("INVOKE",))
    answer = scene.register("internal", ("INVOKE",))
    assert answer.error == (403, "Extension.InvalidExtensionState")
    scene.register()
    again = scene.register()
    assert again.json["errorMessage"] == (
        "State transition from Registered to Registered failed for extension ext. "
        "Error: State transition is not allowed"
    )


@pytest.mark.parametrize(
    ("identifier", "error_type"),
    [
        ("", "Extension.MissingExtensionIdentifier"),
        ("not a uuid", "Extension.InvalidExtensionIdentifier"),
        (str(uuid.uuid4()), "Extension.UnknownExtensionIdentifier"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "event/next"), ("POST", "init/error"), ("POST", "exit/error")]
)
def test_who_asks_must_say_who_it_is(
    method: str, path: str, identifier: str, error_type: str
) -> None:
    scene = Scene()
    scene.register()
    scene.identifiers["ext"] = identifier
    assert scene.call(method, path).error == (403, error_type)


def test_an_identifier_counts_only_after_registration() -> None:
    scene = Scene()
    found = scene.api.find("ext")
    assert found is not None
    scene.identifiers["ext"] = found.identifier
    assert scene.next().error == (403, "Extension.UnknownExtensionIdentifier")


def test_an_error_without_its_type_is_refused() -> None:
    scene = Scene().reach(ExtensionState.REGISTERED)
    assert scene.call("POST", "init/error").error == (403, "Extension.MissingHeader")
    assert scene.state is ExtensionState.REGISTERED


REACHABLE = [state for state in ExtensionState if state not in {"Started", "LaunchError", "Exited"}]


@pytest.mark.parametrize("state", REACHABLE)
@pytest.mark.parametrize("step", [Step.NEXT, Step.INIT_ERROR, Step.EXIT_ERROR])
def test_every_call_in_every_state_is_what_the_table_says(
    state: ExtensionState, step: Step
) -> None:
    scene = Scene().reach(state)
    kinds = {Step.INIT_ERROR: "init", Step.EXIT_ERROR: "exit"}
    answer = scene.next() if step is Step.NEXT else scene.error(kinds[step])
    wanted = STEPS.get((state, step))
    if wanted is None:
        assert answer.error == (403, "Extension.InvalidExtensionState")
        assert f"State transition from {state} to {step} failed" in answer.json["errorMessage"]
        assert scene.state is state
    else:
        assert answer.status in {202, None}, "None: it waits for an event"
        assert scene.state is wanted


def test_an_invoke_goes_to_those_who_want_it_and_is_over_when_all_asked_again() -> None:
    scene = Scene("ext", "quiet")
    scene.register()
    scene.register("quiet", ("SHUTDOWN",))
    waiting = scene.next()
    before = scene.api.are_ready
    quiet = scene.next("quiet")
    scene.api.close_registration()
    assert (before, scene.api.are_ready) == (False, True)
    assert scene.api.serves_invokes
    scene.api.invoke(EVENT)
    assert scene.api.busy == 1
    assert waiting.json == {
        "eventType": "INVOKE",
        "deadlineMs": 123,
        "requestId": "r1",
        "invokedFunctionArn": "arn:f",
        "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1"},
    }
    uuid.UUID(waiting.headers["Lambda-Extension-Event-Identifier"])
    assert quiet.status is None
    scene.next("quiet")
    assert scene.api.busy == 1, "it was not asked"
    scene.next()
    assert scene.api.busy == 0


def test_shutdown_reaches_also_who_does_not_wait_for_it_yet() -> None:
    scene = Scene("ext", "other").reach(ExtensionState.RUNNING)
    scene.register("other", ("INVOKE",))
    assert scene.api.shut_down(shutdown_event("timeout", 5)) == {"ext"}
    assert scene.next().json == {
        "eventType": "SHUTDOWN",
        "shutdownReason": "timeout",
        "deadlineMs": 5,
    }


def test_the_first_error_explains_the_exit() -> None:
    scene = Scene().reach(ExtensionState.REGISTERED)
    assert scene.error("init").json == {"status": "OK"}
    assert scene.error("init").status == 202
    assert scene.api.fatal_type == "Extension.InitError"
    assert scene.api.shut_down(shutdown_event("failure", 5)) == set(), "it is to exit by itself"


def test_unknown_paths_are_404() -> None:
    assert Scene().call("GET", "register").status == 404
    assert Scene().call("POST", "event/next").status == 404


@pytest.mark.parametrize(
    "body",
    [
        b'{"configurationKeys": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"events": ["\xff"]}',
        b'{"events": [1]}',
        b"[",
    ],
)
def test_a_registration_that_cannot_be_read_is_refused(body: bytes) -> None:
    scene = Scene()
    answer = scene.register(events=body)
    assert (answer.status, answer.json["errorType"]) == (403, "InvalidRequestFormat")
    assert scene.register().status == 200
