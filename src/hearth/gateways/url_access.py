"""May this request use this function URL? Who asks, and what the function's policy says.

Two permissions are needed: for `lambda:InvokeFunctionUrl`, which may depend on
`lambda:FunctionUrlAuthType`, and for `lambda:InvokeFunction`, which may depend on
`lambda:InvokedViaFunctionUrl`.

- AuthType NONE: nobody says who he is, so the policy must allow both to everybody.
- AuthType AWS_IAM: a signature for the service `lambda`. The function's own account needs no
  permission, but a Deny binds it; others need both.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
"""

from typing import Final, Protocol

from hearth.base.http1 import HttpRequest
from hearth.control.function_urls import UrlAuth
from hearth.control.policy import AccountPrincipal, Anonymous, Principal, Verdict
from hearth.control.url_index import FoundUrl
from hearth.model.errors import AccessDenied, ServiceError
from hearth.model.functions import FunctionVersion
from hearth.model.ids import Caller

SERVICE: Final = "lambda"
ACTIONS: Final = ("lambda:InvokeFunctionUrl", "lambda:InvokeFunction")
FORBIDDEN: Final = (
    "Forbidden. For troubleshooting Function URL authorization issues, see: "
    "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)


class WrongRegion(ServiceError):
    code = "InvalidSignatureException"
    status = 403
    blame = None


class Authenticator(Protocol):
    """Who signed a request; app.py supplies it."""

    def verify(self, request: HttpRequest, service: str) -> Caller:
        """Raises ServiceError."""
        ...


class Policies(Protocol):
    """What the policies of functions say; app.py supplies it."""

    def verdict(
        self,
        function: FunctionVersion,
        qualifier: str | None,
        principal: Principal,
        action: str,
        context: dict[str, str] | None = None,
    ) -> Verdict: ...


class UrlAccess:
    def __init__(self, auth: Authenticator, policies: Policies) -> None:
        self._auth = auth
        self._policies = policies

    def check(self, request: HttpRequest, found: FoundUrl) -> Caller | None:
        """Who asks, where he must say so. Raises AccessDenied, or what is wrong with a signature.

        An unsigned request is refused by AWS_IAM even where any signature is believed.
        """
        caller: Caller | None = None
        if found.url.auth is UrlAuth.AWS_IAM:
            if not _is_signed(request):
                raise AccessDenied(FORBIDDEN)
            caller = self._auth.verify(request, SERVICE)
            if caller.region != found.function.key.region:
                raise WrongRegion("Credential should be scoped to a valid region. ")
        if not all(self._permits(caller, found, action) for action in ACTIONS):
            raise AccessDenied(FORBIDDEN)
        return caller

    def _permits(self, caller: Caller | None, found: FoundUrl, action: str) -> bool:
        context = {
            "lambda:functionurlauthtype": str(found.url.auth),
            "lambda:invokedviafunctionurl": "true",
        }
        principal: Principal = Anonymous()
        if caller is not None:
            principal = AccountPrincipal(caller.account, caller.user_arn)
            context |= {
                "aws:principalaccount": caller.account,
                "aws:principalarn": caller.user_arn,
            }
        verdict = self._policies.verdict(found.function, found.alias, principal, action, context)
        if caller is not None and caller.account == found.function.key.account:
            return verdict is not Verdict.DENIED
        return verdict is Verdict.ALLOWED


def _is_signed(request: HttpRequest) -> bool:
    """Whether it is signed at all; not whether that is in order."""
    return (
        request.headers.get("authorization", "").startswith("AWS4-")
        or "X-Amz-Signature=" in request.target
    )
