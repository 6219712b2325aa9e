"""What does AWS send to a function? One event of each common source, with its real members.

Shapes are those of AWS's developer guide, "Using Lambda with other services":
https://docs.aws.amazon.com/lambda/latest/dg/lambda-services.html. Names, ids and times are made up.
"""

import base64
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

ACCOUNT: Final = "123456789012"
BODY: Final = '{"message": "hello"}'
MS: Final = 1_785_000_000_000
TIME: Final = "2026-07-25T17:20:00.000Z"
ID: Final = "059f36b4-87a3-44ab-83d2-661975830a7d"


@dataclass(frozen=True, slots=True)
class Sample:
    """`make(body, region)`; `body` is what the sender put in, where the source has such a thing."""

    about: str
    make: Callable[[str, str], dict[str, Any]]


def _sqs(body: str, region: str) -> dict[str, Any]:
    record = {
        "messageId": ID,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(MS),
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": str(MS + 4),
        },
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{region}:{ACCOUNT}:my-queue",
        "awsRegion": region,
    }
    return {"Records": [record]}


def _sns(body: str, region: str) -> dict[str, Any]:
    topic = f"arn:aws:sns:{region}:{ACCOUNT}:my-topic"
    message = {
        "SignatureVersion": "1",
        "Timestamp": TIME,
        "Signature": "EXAMPLE",
        "SigningCertUrl": f"https://sns.{region}.amazonaws.com/SimpleNotificationService.pem",
        "MessageId": ID,
        "Message": body,
        "MessageAttributes": {"kind": {"Type": "String", "Value": "test"}},
        "Type": "Notification",
        "UnsubscribeUrl": f"https://sns.{region}.amazonaws.com/?Action=Unsubscribe",
        "TopicArn": topic,
        "Subject": "A subject",
    }
    record = {
        "EventVersion": "1.0",
        "EventSubscriptionArn": f"{topic}:{ID}",
        "EventSource": "aws:sns",
        "Sns": message,
    }
    return {"Records": [record]}


def _s3(_body: str, region: str) -> dict[str, Any]:
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": region,
        "eventTime": TIME,
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AWS:AIDAINPONIXQXHT3IKHL2"},
        "requestParameters": {"sourceIPAddress": "203.0.113.7"},
        "responseElements": {"x-amz-request-id": "D82B88E5F771F645", "x-amz-id-2": "vlR7PnpV2Ce8"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "828aa6fc-f7b5-4305-8584-487c791949c1",
            "bucket": {
                "name": "my-bucket",
                "ownerIdentity": {"principalId": "A3I5XTEXAMAI3E"},
                "arn": "arn:aws:s3:::my-bucket",
            },
            "object": {
                "key": "photos/a+b.jpg",
                "size": 1305107,
                "eTag": "b21b84d653bb07b05b1e6b33684dc11b",
                "sequencer": "0C0F6F405D6ED209E1",
            },
        },
    }
    return {"Records": [record]}


def _apigw(body: str, _region: str) -> dict[str, Any]:
    headers = {"content-type": "application/json", "host": "abcdef1234.execute-api.localhost"}
    return {
        "resource": "/items/{id}",
        "path": "/items/7",
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {"page": "2"},
        "multiValueQueryStringParameters": {"page": ["2"]},
        "pathParameters": {"id": "7"},
        "stageVariables": None,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "abcdef1234",
            "httpMethod": "POST",
            "identity": {"sourceIp": "203.0.113.7", "userAgent": "curl/8.5.0"},
            "path": "/prod/items/7",
            "protocol": "HTTP/1.1",
            "requestId": ID,
            "requestTimeEpoch": MS,
            "resourcePath": "/items/{id}",
            "stage": "prod",
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _httpapi(body: str, region: str) -> dict[str, Any]:
    domain = f"abcdef1234.execute-api.{region}.amazonaws.com"
    return _payload_two(body, domain, "POST /items/{id}", "prod") | {"pathParameters": {"id": "7"}}


def _url(body: str, region: str) -> dict[str, Any]:
    return _payload_two(body, f"abcdef1234.lambda-url.{region}.on.aws", "$default", "$default")


def _payload_two(body: str, domain: str, route: str, stage: str) -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": route,
        "rawPath": "/items/7",
        "rawQueryString": "page=2",
        "cookies": ["session=1"],
        "headers": {"content-type": "application/json", "host": domain},
        "queryStringParameters": {"page": "2"},
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "abcdef1234",
            "domainName": domain,
            "domainPrefix": "abcdef1234",
            "http": {
                "method": "POST",
                "path": "/items/7",
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "curl/8.5.0",
            },
            "requestId": ID,
            "routeKey": route,
            "stage": stage,
            "time": "25/Jul/2026:17:20:00 +0000",
            "timeEpoch": MS,
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _alb(body: str, region: str) -> dict[str, Any]:
    target = (
        f"arn:aws:elasticloadbalancing:{region}:{ACCOUNT}:targetgroup/my-group/6d0ecf831eec9f09"
    )
    return {
        "requestContext": {"elb": {"targetGroupArn": target}},
        "httpMethod": "POST",
        "path": "/items/7",
        "queryStringParameters": {"page": "2"},
        "headers": {
            "content-type": "application/json",
            "host": "my-alb.localhost",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _websocket(body: str, _region: str) -> dict[str, Any]:
    return {
        "requestContext": {
            "routeKey": "$default",
            "messageId": "ID0aaaaaaaaaaa=",
            "eventType": "MESSAGE",
            "extendedRequestId": "ID0aaaaaaaaaaa=",
            "requestTime": "25/Jul/2026:17:20:00 +0000",
            "messageDirection": "IN",
            "stage": "prod",
            "connectedAt": MS,
            "requestTimeEpoch": MS,
            "identity": {"sourceIp": "203.0.113.7"},
            "requestId": ID,
            "domainName": "abcdef1234.execute-api.localhost",
            "connectionId": "IDaaaaaaaaaaaaa=",
            "apiId": "abcdef1234",
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _dynamodb(body: str, region: str) -> dict[str, Any]:
    record = {
        "eventID": "c4ca4238a0b923820dcc509a6f75849b",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": region,
        "dynamodb": {
            "ApproximateCreationDateTime": MS // 1000,
            "Keys": {"Id": {"N": "101"}},
            "NewImage": {"Id": {"N": "101"}, "Message": {"S": body}},
            "SequenceNumber": "4421584500000000017450439091",
            "SizeBytes": 26,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/my-table/stream/{TIME[:-5]}",
    }
    return {"Records": [record]}


def _kinesis(body: str, region: str) -> dict[str, Any]:
    record = {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "1",
            "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
            "data": _base64(body),
            "approximateArrivalTimestamp": MS / 1000,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": "shardId-000000000006:49590338271490256608559692538361571095921575989136588898",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": f"arn:aws:iam::{ACCOUNT}:role/lambda-role",
        "awsRegion": region,
        "eventSourceARN": f"arn:aws:kinesis:{region}:{ACCOUNT}:stream/my-stream",
    }
    return {"Records": [record]}


def _kafka(body: str, region: str) -> dict[str, Any]:
    record = {
        "topic": "my-topic",
        "partition": 0,
        "offset": 15,
        "timestamp": MS,
        "timestampType": "CREATE_TIME",
        "key": _base64("key"),
        "value": _base64(body),
        "headers": [],
    }
    return {
        "eventSource": "aws:kafka",
        "eventSourceArn": f"arn:aws:kafka:{region}:{ACCOUNT}:cluster/my-cluster/{ID}",
        "bootstrapServers": "b-1.my-cluster.localhost:9092",
        "records": {"my-topic-0": [record]},
    }


def _eventbridge(body: str, region: str) -> dict[str, Any]:
    try:
        detail = json.loads(body)
    except ValueError:
        detail = {"message": body}
    return _bus("my.app", "My event", detail, [], region)


def _schedule(_body: str, region: str) -> dict[str, Any]:
    rule = f"arn:aws:events:{region}:{ACCOUNT}:rule/my-schedule"
    return _bus("aws.events", "Scheduled Event", {}, [rule], region)


def _bus(source: str, kind: str, detail: Any, resources: list[str], region: str) -> dict[str, Any]:
    return {
        "version": "0",
        "id": ID,
        "detail-type": kind,
        "source": source,
        "account": ACCOUNT,
        "time": "2026-07-25T17:20:00Z",
        "region": region,
        "resources": resources,
        "detail": detail,
    }


def _logs(body: str, _region: str) -> dict[str, Any]:
    data = {
        "messageType": "DATA_MESSAGE",
        "owner": ACCOUNT,
        "logGroup": "/aws/lambda/hello",
        "logStream": "2026/07/25/[$LATEST]0123456789abcdef0123456789abcdef",
        "subscriptionFilters": ["my-filter"],
        "logEvents": [{"id": f"{1:056}", "timestamp": MS, "message": body}],
    }
    packed = gzip.compress(json.dumps(data).encode(), mtime=0)
    return {"awslogs": {"data": base64.b64encode(packed).decode()}}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SAMPLES: Final[Mapping[str, Sample]] = {
    "alb": Sample("Application Load Balancer, a request", _alb),
    "apigw": Sample("API Gateway REST API, proxy integration (payload 1.0)", _apigw),
    "dynamodb": Sample("DynamoDB stream, an insert", _dynamodb),
    "eventbridge": Sample("EventBridge, an event of one's own; --body is its detail", _eventbridge),
    "httpapi": Sample("API Gateway HTTP API (payload 2.0)", _httpapi),
    "kafka": Sample("Kafka (MSK), one record", _kafka),
    "kinesis": Sample("Kinesis stream, one record", _kinesis),
    "logs": Sample("CloudWatch Logs subscription, one line", _logs),
    "s3": Sample("S3, an object was put", _s3),
    "schedule": Sample("EventBridge, a schedule fires", _schedule),
    "sns": Sample("SNS, one notification", _sns),
    "sqs": Sample("SQS, one message", _sqs),
    "url": Sample("function URL, a request", _url),
    "websocket": Sample("API Gateway WebSocket API, a message", _websocket),
}
