"""What does the Extensions API answer to the extensions of one environment?

    POST extension/register      until the runtime is ready; external ones by their file's name
    GET  extension/event/next    waits for INVOKE or SHUTDOWN
    POST extension/init/error, extension/exit/error

One object per running program. It decides which extension may do what, and tells the environment
through `ExtensionEvents`, synchronously. Extensions are the function's own code: any order, any
body, any number of connections; an identifier stands for one of them.
Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from hearth.base.http1 import HttpRequest, Responder
from hearth.model.functions import FunctionVersion
from hearth.worker.extension_states import STEPS, ExtensionState, Step
from hearth.worker.inside_errors import ACCEPTED, JSON, UNREADABLE, refuse, refuse_path

EXTENSION_ROOT: Final = "/2020-01-01/extension/"
EXTENSIONS_MAX: Final = 10
INVOKE: Final = "INVOKE"
SHUTDOWN: Final = "SHUTDOWN"
_IDENTIFIER: Final = "lambda-extension-identifier"
_NAME: Final = "lambda-extension-name"
_FEATURES: Final = "lambda-extension-accept-feature"
_ERROR_TYPE: Final = "lambda-extension-function-error-type"


@dataclass(slots=True, kw_only=True, eq=False)
class Extension:
    name: str
    is_external: bool
    identifier: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: ExtensionState = ExtensionState.STARTED
    events: tuple[str, ...] = ()
    error_type: str | None = None
    """What it said of its own error."""
    waiting: Responder | None = None
    undelivered: bytes | None = None
    """An event that came while it did not wait."""

    @property
    def record(self) -> dict[str, Any]:
        """As telemetry describes it."""
        told = {"name": self.name, "state": self.state, "events": self.events}
        return told if self.error_type is None else {**told, "errorType": self.error_type}

    def may(self, step: Step) -> bool:
        return (self.state, step) in STEPS

    def take(self, step: Step) -> None:
        self.state = STEPS[self.state, step]


class ExtensionEvents(Protocol):
    """What is told of extensions. All calls are synchronous and must not raise."""

    def extension_registered(self) -> None: ...

    def extension_ready(self) -> None:
        """One asked for its next event."""
        ...


class _Registration(msgspec.Struct):
    events: list[str] = []
    configurationKeys: list[Any] = []  # noqa: N815 - the wire's name


class ExtensionApi:
    """The extensions of one running program, and what is answered to them."""

    __slots__ = ("_events", "_function", "_is_open", "_served", "all", "busy", "fatal_type")

    def __init__(self, function: FunctionVersion, events: ExtensionEvents) -> None:
        self._function = function
        self._events = events
        self._is_open = True
        self.all: list[Extension] = []
        self._served: tuple[Extension, ...] = ()
        """Those that get an INVOKE event."""
        self.busy = 0
        """How many have got an INVOKE event and not asked for the next one."""
        self.fatal_type: str | None = None
        """The first error that an extension told, which explains the exit that follows."""

    # -- what the environment asks and does -----------------------------------------------------

    def expect(self, names: Iterable[str]) -> None:
        """These are being started. Called before anything else."""
        self.all += [Extension(name=name, is_external=True) for name in names]

    def find(self, name: str) -> Extension | None:
        return next((extension for extension in self.all if extension.name == name), None)

    @property
    def external_are_registered(self) -> bool:
        return all(e.state is not ExtensionState.STARTED for e in self.all if e.is_external)

    @property
    def are_ready(self) -> bool:
        return all(e.state is ExtensionState.READY for e in self.all)

    @property
    def has_external(self) -> bool:
        return any(extension.is_external for extension in self.all)

    def close_registration(self) -> None:
        """The runtime is ready: nobody may register any more."""
        self._is_open = False
        self._served = tuple(e for e in self.all if INVOKE in e.events)

    @property
    def serves_invokes(self) -> bool:
        return bool(self._served)

    def invoke(self, event: bytes) -> None:
        """Give all who want it an INVOKE event; all of them are READY."""
        self.busy = len(self._served)
        for extension in self._served:
            _give(extension, event)

    def shut_down(self, event: bytes) -> set[str]:
        """Give SHUTDOWN to the external ones that want it; their names are returned."""
        told = set()
        for extension in self.all:
            if not extension.is_external or SHUTDOWN not in extension.events:
                continue
            if extension.may(Step.EXIT_ERROR):  # it lives, and reported nothing fatal
                told.add(extension.name)
                _give(extension, event)
        return told

    # -- what extensions ask ---------------------------------------------------------------------

    def handle(self, request: HttpRequest, responder: Responder) -> None:
        """A request below EXTENSION_ROOT."""
        path = request.target[len(EXTENSION_ROOT) :]
        match request.method, path:
            case "POST", "register":
                self._register(request, responder)
            case "GET", "event/next":
                self._next(request, responder)
            case "POST", "init/error":
                self._error(request, responder, Step.INIT_ERROR)
            case "POST", "exit/error":
                self._error(request, responder, Step.EXIT_ERROR)
            case _:
                refuse_path(responder)

    def identify(self, request: HttpRequest, responder: Responder) -> Extension | None:
        """Who asks? None if it was refused."""
        identifier = request.headers.get(_IDENTIFIER, "")
        if not identifier:
            message = "Missing Lambda-Extension-Identifier header"
            refuse(responder, 403, "Extension.MissingExtensionIdentifier", message)
            return None
        try:
            wanted = str(uuid.UUID(identifier))
        except ValueError:
            message = "Invalid Lambda-Extension-Identifier"
            refuse(responder, 403, "Extension.InvalidExtensionIdentifier", message)
            return None
        for extension in self.all:
            if extension.identifier == wanted and extension.state is not ExtensionState.STARTED:
                return extension
        message = f"Unknown extension {wanted}"
        refuse(responder, 403, "Extension.UnknownExtensionIdentifier", message)
        return None

    def _register(self, request: HttpRequest, responder: Responder) -> None:
        name = request.headers.get(_NAME, "")
        if not name:
            refuse(responder, 403, "Extension.InvalidExtensionName", "Empty extension name")
            return
        registration = _parse(request.body, responder)
        if registration is None:
            return
        known = self.find(name)
        is_external = known is not None and known.is_external
        for event in registration.events:
            if (why := _why_not(event, is_external=is_external)) is not None:
                refuse(responder, 403, "Extension.InvalidEventType", f"{event}: {why}")
                return
        if known is not None and is_external:
            if not known.may(Step.REGISTER):
                _refuse_step(responder, known, Step.REGISTER, known.name)
                return
        else:
            known = self._new_internal(name, known, responder)
            if known is None:
                return
        known.take(Step.REGISTER)
        known.events = tuple(dict.fromkeys(registration.events))
        self._answer_registration(known, request, responder)
        self._events.extension_registered()

    def _new_internal(
        self, name: str, same: Extension | None, responder: Responder
    ) -> Extension | None:
        if not self._is_open:
            message = "Extension registration closed already"
            refuse(responder, 403, "Extension.RegistrationClosed", message)
            return None
        if len(self.all) >= EXTENSIONS_MAX:
            message = f"Extension limit ({EXTENSIONS_MAX}) reached"
            refuse(responder, 403, "Extension.TooManyExtensions", message)
            return None
        if same is not None:
            message = "Extension with this name already registered"
            refuse(responder, 403, "Extension.InvalidExtensionState", message)
            return None
        extension = Extension(name=name, is_external=False)
        self.all.append(extension)
        return extension

    def _answer_registration(
        self, extension: Extension, request: HttpRequest, responder: Responder
    ) -> None:
        function = self._function
        body = {
            "functionName": function.key.name,
            "functionVersion": function.version,
            "handler": function.handler,
        }
        features = request.headers.get(_FEATURES, "").split(",")
        if "accountId" in [feature.strip() for feature in features]:
            body["accountId"] = function.key.account
        headers = (*JSON, ("Lambda-Extension-Identifier", extension.identifier))
        responder.send(200, headers, msgspec.json.encode(body))

    def _next(self, request: HttpRequest, responder: Responder) -> None:
        extension = self.identify(request, responder)
        if extension is None:
            return
        if not extension.may(Step.NEXT):
            _refuse_step(responder, extension, Step.NEXT, extension.identifier)
            return
        was_serving = extension.state is ExtensionState.RUNNING
        extension.take(Step.NEXT)
        extension.waiting = responder
        if was_serving and INVOKE in extension.events and self.busy:
            self.busy -= 1
        if extension.undelivered is not None:
            event, extension.undelivered = extension.undelivered, None
            _give(extension, event)
        else:
            self._events.extension_ready()

    def _error(self, request: HttpRequest, responder: Responder, step: Step) -> None:
        extension = self.identify(request, responder)
        if extension is None:
            return
        error_type = request.headers.get(_ERROR_TYPE, "")
        if not error_type:
            message = "Lambda-Extension-Function-Error-Type not found"
            refuse(responder, 403, "Extension.MissingHeader", message)
            return
        if not extension.may(step):
            _refuse_step(responder, extension, step, extension.identifier)
            return
        extension.take(step)
        extension.error_type = extension.error_type or error_type
        self.fatal_type = self.fatal_type or f"Extension.{step}"
        responder.send(202, JSON, ACCEPTED)


def _give(extension: Extension, event: bytes) -> None:
    """Answer the `next` that it waits in; or keep the event until it asks."""
    if extension.waiting is None or not extension.may(Step.EVENT):
        extension.undelivered = event
        return
    waiting, extension.waiting = extension.waiting, None
    extension.take(Step.EVENT)
    event_identifier = ("Lambda-Extension-Event-Identifier", str(uuid.uuid4()))
    waiting.send(200, (*JSON, event_identifier), event)


def _parse(body: bytes, responder: Responder) -> _Registration | None:
    try:
        registration = msgspec.json.decode(body, type=_Registration)
    except UNREADABLE as error:
        refuse(responder, 403, "InvalidRequestFormat", str(error))
        return None
    if registration.configurationKeys:
        message = "configurationKeys are deprecated; use environment variables instead"
        refuse(responder, 403, "InvalidRequestFormat", message)
        return None
    return registration


def _why_not(event: str, *, is_external: bool) -> str | None:
    if event == SHUTDOWN and not is_external:
        return "ShutdownEventNotSupportedForInternalExtension"
    return None if event in {INVOKE, SHUTDOWN} else "ErrorInvalidEventType"


def _refuse_step(responder: Responder, extension: Extension, step: Step, called: str) -> None:
    message = (
        f"State transition from {extension.state} to {step} failed for extension {called}. "
        "Error: State transition is not allowed"
    )
    refuse(responder, 403, "Extension.InvalidExtensionState", message)


def invoke_event(request: str, deadline_ms: int, invoked_arn: str, trace_id: str) -> bytes:
    return msgspec.json.encode(
        {
            "eventType": INVOKE,
            "deadlineMs": deadline_ms,
            "requestId": request,
            "invokedFunctionArn": invoked_arn,
            "tracing": {"type": "X-Amzn-Trace-Id", "value": trace_id},
        }
    )


def shutdown_event(reason: str, deadline_ms: int) -> bytes:
    return msgspec.json.encode(
        {"eventType": SHUTDOWN, "shutdownReason": reason, "deadlineMs": deadline_ms}
    )
