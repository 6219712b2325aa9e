"""moto's server, a peer that speaks SQS, SNS and EventBridge, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.config
import pytest

ACCOUNT = "123456789012"
"""The server's."""
REGION = "us-east-1"

_PROGRAM = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
print(f"http://{host}:{port}", flush=True)
sys.stdin.read()
"""


@contextmanager
def aws_server() -> Iterator[str]:
    """Yields the endpoint. Ends when it is left, or with whoever started it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        endpoint = process.stdout.readline().strip()
        if not endpoint.startswith("http://"):
            pytest.fail("moto's server did not start")
        yield endpoint
    finally:
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()


def aws_client(service: Any, endpoint: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=botocore.config.Config(read_timeout=60),
    )


class Queue:
    """One queue of the server, as its consumer sees it."""

    def __init__(self, endpoint: str, name: str) -> None:
        self._client = aws_client("sqs", endpoint)
        self._url = self._client.create_queue(QueueName=name)["QueueUrl"]
        self.arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

    def receive(self, within_s: int = 0) -> list[dict[str, Any]]:
        """What is there, and is not any more then; waits for the first message, if asked to."""
        received: list[dict[str, Any]] = []
        wait_s = within_s
        while True:
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
                MaxNumberOfMessages=10,
                WaitTimeSeconds=min(wait_s, 20),
            )
            messages = answer.get("Messages", [])
            for message in messages:
                self._client.delete_message(
                    QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"]
                )
            received += messages
            wait_s = 0 if messages else max(0, wait_s - 20)
            if not messages and not wait_s:
                return received
