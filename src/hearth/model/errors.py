"""What may a caller be told? ServiceError: AWS's code, status and text. All else is a bug.

The texts are AWS's own, recorded or documented; see docs/decisions and the tests beside them.
"""

from collections.abc import Mapping
from typing import ClassVar


class ServiceError(Exception):
    """An error that a caller may see. `fields` are further members of the error's body."""

    code: ClassVar[str] = "ServiceException"
    status: ClassVar[int] = 500
    blame: ClassVar[str | None] = "User"
    """`Type` in the body: User, Service, or None where AWS sends no Type."""

    def __init__(self, message: str, *, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fields = dict(fields or {})
        self.headers: dict[str, str] = {}


class InternalFailure(ServiceError):
    """Ours, not the caller's; the log has the reason."""

    code = "ServiceException"
    status = 500
    blame = "Service"


class InvalidParameterValue(ServiceError):
    code = "InvalidParameterValueException"
    status = 400


class ValidationFailed(ServiceError):
    """Members that break their model's constraints; AWS sends no Type with it."""

    code = "ValidationException"
    status = 400
    blame = None


class SerializationFailed(ServiceError):
    """The body could not be read as the operation's input."""

    code = "SerializationException"
    status = 400
    blame = None


class InvalidRequestContent(ServiceError):
    code = "InvalidRequestContentException"
    status = 400


class ResourceNotFound(ServiceError):
    code = "ResourceNotFoundException"
    status = 404


class ProvisionedConcurrencyConfigNotFound(ServiceError):
    code = "ProvisionedConcurrencyConfigNotFoundException"
    status = 404


class ResourceConflict(ServiceError):
    code = "ResourceConflictException"
    status = 409


class DurableExecutionAlreadyStarted(ServiceError):
    """An execution has that name, and another input."""

    code = "DurableExecutionAlreadyStartedException"
    status = 409


class CallbackTimeout(ServiceError):
    """A callback that nobody waits for any more."""

    code = "CallbackTimeoutException"
    status = 400


class EngineUnwell(ServiceError):
    """What must be on disk before the answer could not be put there."""

    code = "ServiceException"
    status = 503
    blame = "Service"


class AccessDenied(ServiceError):
    """The caller may not do this; AWS sends no Type with it."""

    code = "AccessDeniedException"
    status = 403
    blame = None


class PreconditionFailed(ServiceError):
    code = "PreconditionFailedException"
    status = 412


class RequestTooLarge(ServiceError):
    code = "RequestTooLargeException"
    status = 413


class RequestEntityTooLarge(ServiceError):
    code = "RequestEntityTooLargeException"
    status = 413
    blame = None


class CodeSourceFailed(ServiceError):
    """Where the code should come from does not answer, or says that it is broken."""

    code = "ServiceException"
    status = 502
    blame = "Service"


class CodeStorageExceeded(ServiceError):
    code = "CodeStorageExceededException"
    status = 400


class InvalidZipFile(ServiceError):
    """At invoke: Lambda could not unzip the package."""

    code = "InvalidZipFileException"
    status = 502


class InvalidRuntime(ServiceError):
    """At invoke: this machine has no such runtime."""

    code = "InvalidRuntimeException"
    status = 502


class InitFailed(ServiceError):
    """The function's own Init phase failed, where its environment was to be kept initialised."""

    code = "ServiceException"
    status = 502


class TooManyRequests(ServiceError):
    """No concurrency left. `reason` is one of AWS's ThrottleReason values."""

    code = "TooManyRequestsException"
    status = 429

    def __init__(self, reason: str, *, message: str = "Rate Exceeded.") -> None:
        super().__init__(message, fields={"Reason": reason})
        self.reason = reason


class NoCapacity(ServiceError):
    """No worker can take another sandbox now."""

    code = "ServiceException"
    status = 503
    blame = "Service"


class NotImplementedHere(ServiceError):
    """An operation or a setting that AWS has and this Hearth has not."""

    code = "NotImplementedException"
    status = 501


class UnknownOperation(ServiceError):
    code = "UnknownOperationException"
    status = 404
    blame = None
