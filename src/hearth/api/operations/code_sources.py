"""Where is the code that a deployment names? From the members of CreateFunction's `Code`, which
are UpdateFunctionCode's own, to an upload or an object in S3.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_FunctionCode.html. Texts: recorded, or
AWS's as its users have quoted them; that of an image that is missing follows their form.
"""

from collections.abc import Mapping
from typing import Any, Final

from hearth.control.requests import S3Object
from hearth.model.errors import InvalidParameterValue

ONE_SOURCE: Final = "Please do not provide other FunctionCode parameters when providing a ZipFile."
NOT_WITH_IMAGE: Final = (
    "Please don't provide Handler or Runtime or Layer when the intended function PackageType is "
    "Image."
)
NO_IMAGE: Final = "Please provide ImageUri when creating a function with packageType Image."
NOT_AN_IMAGE: Final = "Please don't provide ImageUri when updating a function with packageType Zip."


def check_package_type(members: Mapping[str, Any]) -> None:
    """Of a new function: what is not given together. Raises InvalidParameterValue.

    An image that is whole is refused by name elsewhere: it cannot be run here. One that is given
    without the package type is no source, as in AWS.
    """
    if members.get("PackageType") != "Image":
        return
    if members.get("Handler") or members.get("Runtime") or members.get("Layers"):
        raise InvalidParameterValue(NOT_WITH_IMAGE)
    if not members["Code"].get("ImageUri"):
        raise InvalidParameterValue(NO_IMAGE)


def code_source(members: Mapping[str, Any]) -> bytes | S3Object | None:
    """None if the members name none, or only a part of one. Raises InvalidParameterValue."""
    package: bytes | None = members.get("ZipFile")
    bucket, key = members.get("S3Bucket"), members.get("S3Key")
    version = members.get("S3ObjectVersion")
    if package is not None:
        if bucket or key or version or members.get("ImageUri"):
            raise InvalidParameterValue(ONE_SOURCE)
        return package
    if not bucket or not key:
        return None
    return S3Object(bucket=bucket, key=key, version=version or None)
