"""Which client of botocore is for this service and region? Made once, when first needed.

And the addresses of queues; and the trace header that the requests of one thread carry.
"""

import threading
from typing import Any, Final

from hearth.app.aws_clients import READ_S, make_client
from hearth.model.endpoints import Endpoint
from hearth.settings import ClientSettings

TRACE_HEADER: Final = "X-Amzn-Trace-Id"


class Clients:
    """For many threads."""

    def __init__(self, told: ClientSettings, connections_max: int, read_s: int = READ_S) -> None:
        """`read_s`: how long a server may be silent."""
        self._told = told
        self._connections_max = connections_max
        self._read_s = read_s
        self._making = threading.Lock()
        self._made: dict[tuple[str, str], Any] = {}
        self._queue_urls: dict[str, str] = {}
        self._trace = threading.local()

    def of(self, endpoint: Endpoint, region: str) -> Any:
        with self._making:
            client = self._made.get((endpoint.service, region))
            if client is None:
                client = self._make(endpoint, region)
                self._made[endpoint.service, region] = client
        return client

    def queue_url(self, endpoint: Endpoint, arn: str) -> str:
        """AWS's is known; another server has its own ideas, and is asked once."""
        _, _, _, region, account, name = arn.split(":", 5)
        if endpoint.url is None:
            domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
            return f"https://sqs.{region}.{domain}/{account}/{name}"
        url = self._queue_urls.get(arn)
        if url is None:
            answer = self.of(endpoint, region).get_queue_url(
                QueueName=name, QueueOwnerAWSAccountId=account
            )
            url = self._queue_urls[arn] = str(answer["QueueUrl"])
        return url

    def tracing(self, header: str | None) -> "_Tracing":
        """Within it, requests of this thread carry the header."""
        return _Tracing(self._trace, header)

    def _make(self, endpoint: Endpoint, region: str) -> Any:
        more: dict[str, Any] = {}
        if endpoint.service == "s3" and endpoint.url is not None:
            more["s3"] = {"addressing_style": "path"}
        client = make_client(
            endpoint, self._told, region, self._connections_max, read_s=self._read_s, **more
        )
        client.meta.events.register_last("before-sign", self._add_trace)
        return client

    def _add_trace(self, request: Any, **_event: Any) -> None:
        header = getattr(self._trace, "header", None)
        if header is not None:
            request.headers[TRACE_HEADER] = header


class _Tracing:
    def __init__(self, trace: threading.local, header: str | None) -> None:
        self._trace = trace
        self._header = header

    def __enter__(self) -> None:
        self._trace.header = self._header

    def __exit__(self, *_error: object) -> None:
        self._trace.header = None
