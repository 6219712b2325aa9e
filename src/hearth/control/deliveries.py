"""How does a deployment's code get here, and may it be deployed? Yields packages that were judged.

What was uploaded is in memory already. What lies in S3 is fetched into a file beside the packages,
piece by piece, bounded in size and time; whatever ends it, the file goes, unless it was put.

Errors of S3 are told in Lambda's words, which wrap S3's. S3's own words come from the table below
where AWS's are known, since servers that speak its protocol say them in their own way, or not at
all. Source: errors of CreateFunction and UpdateFunctionCode as their callers have recorded them.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

from hearth.base.log import Log
from hearth.control.packages import Packages
from hearth.control.requests import S3Object
from hearth.control.zips import check_zip, too_large
from hearth.model.endpoints import no_endpoint
from hearth.model.errors import AccessDenied, CodeSourceFailed, InvalidParameterValue, ServiceError
from hearth.model.ids import Region
from hearth.model.limits import UNZIPPED_BYTES_MAX

log = Log("control")

FETCH_S_MAX: Final = 50.0
"""Below the 60 s for which AWS's clients wait for an answer."""

_WORDS: Final = {
    "NoSuchBucket": "The specified bucket does not exist",
    "NoSuchKey": "The specified key does not exist.",
    "NoSuchVersion": "The specified version does not exist.",
    "AccessDenied": "Access Denied",
}


class S3Refused(Exception):
    """S3 answered an error."""

    def __init__(
        self, code: str, message: str, status: int = 400, bucket_region: str | None = None
    ) -> None:
        super().__init__(code, message, status)
        self.code = code
        self.message = message
        self.status = status
        self.bucket_region = bucket_region


class S3Failed(Exception):
    """S3 did not answer, or not in a way that can be used. The text says what happened."""


class TooLarge(Exception):
    """More came than there may be."""


class Abandoned(Exception):
    """Nobody waits for this any more."""


class Sink:
    """The file that a fetch fills. It is filled in one thread and closed in another."""

    def __init__(self, file: IO[bytes], bytes_max: int) -> None:
        self._file = file
        self._left = bytes_max
        self._lock = threading.Lock()

    def write(self, chunk: bytes) -> None:
        """Raises TooLarge; Abandoned, once it is closed; OSError."""
        with self._lock:
            if self._file.closed:
                raise Abandoned
            self._left -= len(chunk)
            if self._left < 0:
                raise TooLarge
            self._file.write(chunk)

    def expect(self, bytes_coming: int) -> None:
        """Raises TooLarge if that many could not be written."""
        if bytes_coming > self._left:
            raise TooLarge

    def close(self) -> None:
        with self._lock:
            self._file.close()


class S3(Protocol):
    """What this room needs of S3."""

    async def fetch(self, source: S3Object, region: Region, sink: Sink) -> None:
        """Write all of the object. Raises S3Refused, S3Failed, and what the sink raises. When it
        is cancelled, it may go on until it meets a sink that is closed."""
        ...


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Packages of deployments. Without `s3`, none can come from there."""

    packages: Packages
    s3: S3 | None
    fetch_s_max: float = FETCH_S_MAX

    @asynccontextmanager
    async def receive(
        self, source: bytes | S3Object, region: Region
    ) -> AsyncIterator[bytes | Path]:
        """The package, here and judged, for Packages.put or describe.

        Raises ServiceError in AWS's words; CodeSourceFailed if S3 cannot be used now.
        """
        if isinstance(source, bytes):
            await asyncio.to_thread(check_zip, source)
            yield source
            return
        if self.s3 is None:
            raise no_endpoint("S3Bucket", "s3")
        path, file = self.packages.begin()
        sink = Sink(file, UNZIPPED_BYTES_MAX)
        try:
            await self._fetch(self.s3, source, region, sink)
            await asyncio.to_thread(sink.close)  # what is still in its buffer is written here
            await asyncio.to_thread(check_zip, path)
            yield path
        finally:
            sink.close()
            path.unlink(missing_ok=True)

    async def _fetch(self, s3: S3, source: S3Object, region: Region, sink: Sink) -> None:
        try:
            async with asyncio.timeout(self.fetch_s_max):
                await s3.fetch(source, region, sink)
        except TooLarge as error:
            raise too_large() from error
        except S3Refused as error:
            raise _refusal(error, source) from error
        except (S3Failed, TimeoutError) as error:
            why = str(error) or f"It did not come within {self.fetch_s_max:g} seconds."
            log.warning("code could not be fetched from S3", bucket=source.bucket, error=error)
            raise CodeSourceFailed(f"Error occurred while GetObject. {why}") from error


def _refusal(error: S3Refused, source: S3Object) -> ServiceError:
    message = _WORDS.get(error.code) or error.message or error.code
    if error.code == "PermanentRedirect":
        message = (
            f"The bucket is in this region: {error.bucket_region or 'null'}. "
            "Please use this region to retry the request"
        )
    told = f"S3 Error Code: {error.code}. S3 Error Message: {message}"
    if error.status == 403:
        return AccessDenied(
            "Your access has been denied by S3, please make sure your request credentials have "
            f"permission to GetObject for {source.bucket}/{source.key}. {told}"
        )
    text = f"Error occurred while GetObject. {told}"
    return CodeSourceFailed(text) if error.status >= 500 else InvalidParameterValue(text)
