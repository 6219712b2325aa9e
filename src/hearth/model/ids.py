"""What is this thing called? Ids and ARNs, parsed and formatted in one place.

A function is named in a request by its name, a partial ARN (`123456789012:function:f`), or a
full ARN, each with an optional `:qualifier` (`$LATEST`, a version number, an alias).
Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html (FunctionName).
"""

import re
from dataclasses import dataclass
from typing import Final, NewType, Self

AccountId = NewType("AccountId", str)
Region = NewType("Region", str)
FunctionName = NewType("FunctionName", str)
RequestId = NewType("RequestId", str)
SandboxId = NewType("SandboxId", str)
WorkerId = NewType("WorkerId", str)

LATEST: Final = "$LATEST"
PARTITION: Final = "aws"
DEFAULT_ACCOUNT: Final = AccountId("000000000000")
DEFAULT_REGION: Final = Region("us-east-1")

_REFERENCE = re.compile(
    r"(?:arn:(?P<partition>aws[a-zA-Z-]*):lambda:)?"
    r"(?:(?P<region>(?:eusc-)?[a-z]{2}(?:(?:-gov)|(?:-iso(?:[a-z]?)))?-[a-z]+-\d{1}):)?"
    r"(?:(?P<account>\d{12}):)?"
    r"(?:(?P<function>function):)?"
    r"(?P<name>[a-zA-Z0-9-_\.]+)"
    r"(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]+))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class FunctionKey:
    """Which function, in which account and region: the identity under which it is stored."""

    account: AccountId
    region: Region
    name: FunctionName

    def arn(self, qualifier: str | None = None) -> str:
        """`arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]`"""
        arn = f"arn:{PARTITION}:lambda:{self.region}:{self.account}:function:{self.name}"
        return arn if qualifier is None else f"{arn}:{qualifier}"


@dataclass(frozen=True, slots=True)
class FunctionReference:
    """A function as a caller named it. Parts that the caller left out are None."""

    name: FunctionName
    account: AccountId | None = None
    region: Region | None = None
    qualifier: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError if `text` is neither a name, a partial ARN nor an ARN."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise ValueError(f"not a function name or ARN: {text!r}")
        account, region = match["account"], match["region"]
        return cls(
            name=FunctionName(match["name"]),
            account=AccountId(account) if account else None,
            region=Region(region) if region else None,
            qualifier=match["qualifier"],
        )


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and where: what authentication leaves behind."""

    account: AccountId
    region: Region
    access_key: str
    user_arn: str
