"""Where is the code that a deployment names? From the members of CreateFunction's `Code`, which
are UpdateFunctionCode's own, to an upload or an object in S3.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_FunctionCode.html. Texts: recorded.
"""

from collections.abc import Mapping
from typing import Any, Final

from hearth.control.requests import S3Object
from hearth.model.errors import InvalidParameterValue

ONE_SOURCE: Final = "Please do not provide other FunctionCode parameters when providing a ZipFile."


def code_source(members: Mapping[str, Any]) -> bytes | S3Object | None:
    """None if the members name none, or only a part of one. Raises InvalidParameterValue."""
    package: bytes | None = members.get("ZipFile")
    bucket, key = members.get("S3Bucket"), members.get("S3Key")
    version = members.get("S3ObjectVersion")
    if package is not None:
        if bucket or key or version:
            raise InvalidParameterValue(ONE_SOURCE)
        return package
    if not bucket or not key:
        return None
    return S3Object(bucket=bucket, key=key, version=version or None)
