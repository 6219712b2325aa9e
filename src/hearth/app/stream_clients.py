"""How does Hearth reach the streams that feed functions, and who is told of lost records?"""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from hearth.app.source_clients import SourceClients
from hearth.model.endpoints import no_endpoint
from hearth.model.mappings import EventSourceMapping, SourceKind
from hearth.model.targets import Target
from hearth.sources.contract import SourceFailed
from hearth.sources.failures import GivenUp, message, object_key
from hearth.sources.queue_records import payload_of
from hearth.sources.stream_records import dynamodb_record, kinesis_record
from hearth.sources.streams import Checkpoint, IteratorUseless, Latest, Read, Shard, Start

SHARD_PAGES_MAX: Final = 100
_USELESS: Final = ("ExpiredIteratorException", "TrimmedDataAccessException")


class AwsStream:
    """The Stream of `sources/streams.py`: of Kinesis or DynamoDB."""

    def __init__(
        self,
        mapping: EventSourceMapping,
        clients: SourceClients,
        role_of: Callable[[EventSourceMapping], str],
    ) -> None:
        self._mapping = mapping
        self._arn = mapping.source_arn
        self._clients = clients
        self._role_of = role_of
        self._is_kinesis = mapping.kind is SourceKind.KINESIS

    async def shards(self) -> Sequence[Shard]:
        return await self._clients.call(self._clients.calls, self._shards)

    async def iterator(self, shard: str, start: Start) -> str:
        return await self._clients.call(self._clients.calls, lambda: self._iterator(shard, start))

    async def read(self, shard: str, iterator: str, limit: int) -> Read:
        return await self._clients.call(
            self._clients.polls, lambda: self._read(shard, iterator, limit)
        )

    def _shards(self) -> list[Shard]:
        found: list[Any] = []
        more: dict[str, Any] = {}
        for _page in range(SHARD_PAGES_MAX):
            if self._is_kinesis:
                answer = self._client().list_shards(**more or {"StreamARN": self._arn})
                found += answer["Shards"]
                more = {"NextToken": answer.get("NextToken")}
            else:
                answer = self._client().describe_stream(StreamArn=self._arn, **more)
                found += answer["StreamDescription"].get("Shards", [])
                last = answer["StreamDescription"].get("LastEvaluatedShardId")
                more = {"ExclusiveStartShardId": last}
            if not all(more.values()):
                break
        return [
            Shard(
                one["ShardId"],
                tuple(
                    one[name]
                    for name in ("ParentShardId", "AdjacentParentShardId")
                    if one.get(name)
                ),
            )
            for one in found
        ]

    def _iterator(self, shard: str, start: Start) -> str:
        from botocore.exceptions import ClientError

        wanted = self._wanted(start)
        try:
            return self._ask_iterator(shard, wanted)
        except ClientError as error:
            if error.response["Error"]["Code"] != "TrimmedDataAccessException":
                raise
            return self._ask_iterator(shard, {"ShardIteratorType": "TRIM_HORIZON"})

    def _ask_iterator(self, shard: str, wanted: dict[str, Any]) -> str:
        name = "StreamARN" if self._is_kinesis else "StreamArn"
        answer = self._client().get_shard_iterator(**{name: self._arn}, ShardId=shard, **wanted)
        return str(answer["ShardIterator"])

    def _wanted(self, start: Start) -> dict[str, Any]:
        match start:
            case Latest():
                return {"ShardIteratorType": "LATEST"}
            case Checkpoint(after=str(after)):
                number = "StartingSequenceNumber" if self._is_kinesis else "SequenceNumber"
                return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", number: after}
            case Checkpoint(since_ms=int(since_ms)) if self._is_kinesis:
                at = datetime.fromtimestamp(since_ms / 1000, UTC)
                return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": at}
            case Checkpoint():
                return {"ShardIteratorType": "TRIM_HORIZON"}

    def _read(self, shard: str, iterator: str, limit: int) -> Read:
        from botocore.exceptions import ClientError

        more = {"StreamARN": self._arn} if self._is_kinesis else {}
        try:
            answer = self._client().get_records(ShardIterator=iterator, Limit=limit, **more)
        except ClientError as error:
            if error.response["Error"]["Code"] in _USELESS:
                raise IteratorUseless(str(error)) from error
            raise
        if self._is_kinesis:
            role = self._role_of(self._mapping)
            records = [kinesis_record(self._mapping, role, shard, one) for one in answer["Records"]]
        else:
            records = [dynamodb_record(self._mapping, one) for one in answer["Records"]]
        return Read(records, answer.get("NextShardIterator"))

    def _client(self) -> Any:
        endpoint = self._clients.endpoint(self._mapping.kind)
        return self._clients.clients.of(endpoint, self._mapping.source_region)


class AwsFailureTargets:
    """The FailureTargets of `sources/failures.py`."""

    def __init__(self, clients: SourceClients) -> None:
        self._clients = clients

    async def tell(self, given_up: GivenUp) -> None:
        await self._clients.call(self._clients.calls, lambda: self._tell(given_up))

    def _tell(self, given_up: GivenUp) -> None:
        arn = given_up.mapping.on_failure
        assert arn is not None, "asked only where there is one"
        target = Target.parse(arn)
        endpoint = self._clients.endpoints.find(target.service)
        if endpoint is None:
            raise SourceFailed(no_endpoint(arn, target.service).message)
        clients = self._clients.clients
        client = clients.of(endpoint, target.region or given_up.mapping.region)
        told = message(given_up).decode()
        match target.service:
            case "sqs":
                client.send_message(QueueUrl=clients.queue_url(endpoint, arn), MessageBody=told)
            case "sns":
                client.publish(TopicArn=arn, Message=told)
            case "s3":
                payload = payload_of([record.record for record in given_up.batch.records])
                client.put_object(
                    Bucket=target.name,
                    Key=object_key(given_up, str(uuid.uuid4())),
                    Body=message(given_up, payload),
                    ContentType="application/json",
                )
            case other:
                raise SourceFailed(f"{other} cannot be told")
