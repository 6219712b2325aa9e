"""Where does code in S3 come from? A client of S3's own protocol, botocore's, at one endpoint.

It is made when it is first needed and works in threads of its own: importing botocore and reading
S3's model take a quarter of a second, a slow server takes what it likes, and neither may keep
Hearth, or an upload that waits for a thread, from going on. It does not retry: Lambda's clients do.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from hearth.app.aws_clients import make_client
from hearth.control.deliveries import S3Failed, S3Refused, Sink
from hearth.control.requests import S3Object
from hearth.model.endpoints import Endpoint, Endpoints
from hearth.model.ids import Region
from hearth.settings import ClientSettings, read_client_settings

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

FETCHES_MAX: Final = 4
"""At a time; more wait."""
CLIENTS_MAX: Final = 32
"""One for each region that somebody asked from."""
CHUNK_BYTES: Final = 256 * 1024

_ELSEWHERE: Final = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)


def open_s3(endpoints: Endpoints, stack: AsyncExitStack) -> "S3Downloads | None":
    """None if Hearth was not told where S3 is."""
    endpoint = endpoints.find("s3")
    if endpoint is None:
        return None
    downloads = S3Downloads(endpoint, read_client_settings())
    stack.callback(downloads.close)
    return downloads


class S3Downloads:
    """Objects of the S3 at one endpoint."""

    def __init__(self, endpoint: Endpoint, told: ClientSettings) -> None:
        self._endpoint = endpoint
        self._told = told
        self._threads = ThreadPoolExecutor(FETCHES_MAX, thread_name_prefix="s3")
        self._making = threading.Lock()  # sessions of botocore are for one thread
        self._client: Callable[[Region], S3Client] = lru_cache(CLIENTS_MAX)(self._make_client)

    async def fetch(self, source: S3Object, region: Region, sink: Sink) -> None:
        """Write all of the object. Raises S3Refused, S3Failed, and what the sink raises."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._fetch, source, region, sink)

    def close(self) -> None:
        """Let nothing new begin. What runs ends by itself: nobody waits for it."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, source: S3Object, region: Region, sink: Sink) -> None:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        version: dict[str, Any] = {"VersionId": source.version} if source.version else {}
        try:
            with self._making:
                client = self._client(region)
            got = client.get_object(Bucket=source.bucket, Key=source.key, **version)
            with closing(got["Body"]) as body:
                sink.expect(got.get("ContentLength", 0))
                for chunk in body.iter_chunks(CHUNK_BYTES):
                    sink.write(chunk)
        except ClientError as error:
            raise _refused(error.response, region) from error
        except (BotoCoreError, ResponseParserError, ValueError) as error:
            where = self._endpoint.url or "AWS"
            raise S3Failed(f"Hearth could not read from S3 at {where}: {error}") from error

    def _make_client(self, region: Region) -> "S3Client":
        addressing = {"addressing_style": "auto" if self._endpoint.url is None else "path"}
        client = make_client(self._endpoint, self._told, region, FETCHES_MAX, s3=addressing)
        client.meta.events.register_first("needs-retry.s3", _never_redirect)
        return cast("S3Client", client)


def _never_redirect(request_dict: Any, **_event: Any) -> None:
    """Lambda takes code only from buckets in its own region, where botocore would go after them."""
    request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True


def _refused(response: Any, region: Region) -> S3Refused:
    error, about = response["Error"], response["ResponseMetadata"]
    code, status = error.get("Code", ""), about["HTTPStatusCode"]
    bucket_region = about["HTTPHeaders"].get("x-amz-bucket-region") or error.get("Region")
    if status == 301 or (code in _ELSEWHERE and bucket_region not in {None, region}):
        return S3Refused("PermanentRedirect", "", 400, bucket_region)
    return S3Refused(code, error.get("Message", ""), status, bucket_region)
