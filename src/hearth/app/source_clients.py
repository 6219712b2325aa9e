"""How does Hearth reach the queues that feed functions? botocore's clients, in daemon threads.

Long polls have threads of their own, so that what deletes and gives back never waits behind them.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, TypeVar

from hearth.app.client_pool import Clients
from hearth.app.daemon_threads import DaemonThreads
from hearth.base.log import Log
from hearth.model.endpoints import Endpoint, Endpoints, no_endpoint
from hearth.model.errors import InvalidParameterValue, ServiceError
from hearth.model.mappings import EventSourceMapping, SourceFacts, SourceKind
from hearth.settings import ClientSettings
from hearth.sources.contract import RawMessage, SourceFailed

T = TypeVar("T")

THREADS: Final = 64
POLLS: Final = 1_024
"""Threads, at most; a mapping with nothing to do holds one."""
READ_S: Final = 40
"""Longer than a long poll."""

log = Log("sources")


class SourceUnreachable(ServiceError):
    """Who has the source does not answer, or says that it is broken."""

    code: ClassVar[str] = "ServiceException"
    status: ClassVar[int] = 502
    blame: ClassVar[str | None] = "Service"


class SourceClients:
    def __init__(self, endpoints: Endpoints, told: ClientSettings) -> None:
        self.endpoints = endpoints
        self.clients = Clients(told, THREADS, READ_S)
        self.polls = DaemonThreads("source-poll", POLLS)
        self.calls = DaemonThreads("source-call", THREADS)

    # --- the Sources of `control/mappings.py`

    async def describe(self, kind: SourceKind, arn: str) -> SourceFacts:
        """Raises ServiceError if there is no such source, or it cannot be reached."""
        return await self.calls.call(lambda: self._describe(kind, arn))

    def _describe(self, kind: SourceKind, arn: str) -> SourceFacts:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self._look_at(kind, arn)
        except ClientError as error:
            raise _refusal(kind, arn, error.response) from error
        except (BotoCoreError, OSError) as error:
            raise SourceUnreachable(
                f"The event source {arn} cannot be reached: {_reason(error)}"
            ) from error

    def _look_at(self, kind: SourceKind, arn: str) -> SourceFacts:
        endpoint = self.endpoint(kind)
        region = arn.split(":")[3]
        client = self.clients.of(endpoint, region)
        match kind:
            case SourceKind.SQS:
                answer = client.get_queue_attributes(
                    QueueUrl=self.clients.queue_url(endpoint, arn),
                    AttributeNames=["VisibilityTimeout"],
                )
                return SourceFacts(int(answer["Attributes"]["VisibilityTimeout"]))
            case SourceKind.KINESIS:
                client.describe_stream_summary(StreamARN=arn)
            case SourceKind.DYNAMODB:
                client.describe_stream(StreamArn=arn, Limit=1)
        return SourceFacts()

    # --- for pollers

    def endpoint(self, kind: SourceKind) -> Endpoint:
        """Raises InvalidParameterValue if it has none; it may have had one before a restart."""
        endpoint = self.endpoints.find(kind.service)
        if endpoint is None:
            raise no_endpoint("EventSourceArn", kind.service)
        return endpoint

    async def call(
        self,
        threads: DaemonThreads,
        work: Callable[[], T],
        abandoned: Callable[[T], None] | None = None,
    ) -> T:
        """Raises SourceFailed for whatever the service or the way to it did not do."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return await threads.call(work, abandoned)
        except (ClientError, BotoCoreError, OSError, ServiceError) as error:
            raise SourceFailed(_reason(error)) from error


class AwsQueue:
    """The Queue of `sources/contract.py`."""

    def __init__(self, mapping: EventSourceMapping, clients: SourceClients) -> None:
        self._arn = mapping.source_arn
        self._region = mapping.source_region
        self._clients = clients

    async def visibility_s(self) -> int:
        facts = await self._clients.call(
            self._clients.calls,
            lambda: self._clients._look_at(SourceKind.SQS, self._arn),  # noqa: SLF001 -- its own
        )
        return facts.visibility_s or 0

    async def receive(self, limit: int, wait_s: int) -> Sequence[RawMessage]:
        return await self._clients.call(
            self._clients.polls, lambda: self._receive(limit, wait_s), self._abandoned
        )

    async def delete(self, messages: Sequence[RawMessage]) -> None:
        entries = [
            {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]}
            for n, message in enumerate(messages)
        ]
        await self._clients.call(
            self._clients.calls, lambda: self._do("delete_message_batch", entries)
        )

    async def put_back(self, messages: Sequence[RawMessage]) -> None:
        await self._clients.call(self._clients.calls, lambda: self._put_back(messages))

    def _receive(self, limit: int, wait_s: int) -> list[RawMessage]:
        client, url = self._client()
        answer = client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=limit,
            WaitTimeSeconds=wait_s,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        found: list[RawMessage] = answer.get("Messages", [])
        return found

    def _put_back(self, messages: Sequence[RawMessage]) -> None:
        entries = [
            {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
            for n, message in enumerate(messages)
        ]
        self._do("change_message_visibility_batch", entries)

    def _abandoned(self, messages: Sequence[RawMessage]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        if not messages:
            return
        try:
            self._put_back(messages)
        except (ClientError, BotoCoreError, OSError, SourceFailed) as error:
            log.warning("messages come back later", queue=self._arn, n=len(messages), error=error)

    def _do(self, operation: str, entries: list[dict[str, Any]]) -> None:
        """Raises SourceFailed too where some of them were refused."""
        client, url = self._client()
        answer = getattr(client, operation)(QueueUrl=url, Entries=entries)
        for failed in answer.get("Failed", []):
            raise SourceFailed(f"{failed.get('Code')}: {failed.get('Message', '')}")

    def _client(self) -> tuple[Any, str]:
        endpoint = self._clients.endpoint(SourceKind.SQS)
        clients = self._clients.clients
        return clients.of(endpoint, self._region), clients.queue_url(endpoint, self._arn)


def _refusal(kind: SourceKind, arn: str, response: Any) -> ServiceError:
    error = response.get("Error", {})
    code, message = str(error.get("Code", "")), str(error.get("Message", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    if status >= 500:
        return SourceUnreachable(f"The event source {arn} cannot be reached: {code}: {message}")
    if kind.is_stream and code == "ResourceNotFoundException":
        return InvalidParameterValue(f"Stream not found: {arn}")
    if kind is SourceKind.SQS:
        if code.endswith(("NonExistentQueue", "QueueDoesNotExist")):
            code = "AWS.SimpleQueueService.NonExistentQueue"
            message = "The specified queue does not exist."
        return InvalidParameterValue(
            f"Error occurred while ReceiveMessage. SQS Error Code: {code}. "
            f"SQS Error Message: {message}"
        )
    return InvalidParameterValue(f"Cannot access stream {arn}. {code}: {message}")


def _reason(error: BaseException) -> str:
    """In one line: the service's own words, or what kind of error it was."""
    response = getattr(error, "response", None)
    if isinstance(response, dict) and "Error" in response:
        told = response["Error"]
        return f"{told.get('Code', '')}: {told.get('Message', '')}"
    if isinstance(error, ServiceError):
        return error.message
    return f"{type(error).__name__}: {error}"
