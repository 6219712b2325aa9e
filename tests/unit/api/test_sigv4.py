"""Does the verifier accept what AWS's own signer signs, and nothing else, in AWS's words?

The oracle is botocore.auth, which every AWS client in Python signs with.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from hearth.api.keys import AccessKey
from hearth.api.sigv4 import CREDENTIALS_MAX, OpenAuth, SigV4Verifier
from hearth.api.sigv4_errors import (
    IncompleteSignature,
    InvalidSignature,
    MissingAuthenticationToken,
    SignatureError,
    UnrecognizedClient,
)
from hearth.base.http1 import HttpRequest
from hearth.model.ids import DEFAULT_ACCOUNT, DEFAULT_REGION, AccountId, Caller, Region

KEY = AccessKey("AKIAEXAMPLE", "secret/+", AccountId("123456789012"), "arn:aws:iam::1:user/ann")
TEMPORARY = replace(KEY, access_key="ASIAEXAMPLE", session_token="token")
CALLER = Caller(KEY.account, Region("eu-central-1"), KEY.access_key, KEY.user_arn)
PATH = "/2015-03-31/functions/hello/invocations"
MISMATCH = (
    "The request signature we calculated does not match the signature you provided."
    " Check your AWS Secret Access Key and signing method."
    " Consult the service documentation for details."
)


class KeyTable:
    def __init__(self, *keys: AccessKey) -> None:
        self.table = {key.access_key: key for key in keys}

    def find(self, access_key: str) -> AccessKey | None:
        return self.table.get(access_key)


class ShiftedClock:
    """The machine's time, by which the oracle signs, moved by what a test wants."""

    def __init__(self, shift: timedelta = timedelta(0)) -> None:
        self.shift = shift

    def monotonic_s(self) -> float:
        return self.utc().timestamp()

    def utc(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def epoch_ms(self) -> int:
        return int(self.utc().timestamp() * 1000)


class FixedClock(ShiftedClock):
    def utc(self) -> datetime:
        return datetime(2026, 11, 23, 10, 15, tzinfo=UTC)


def signed(
    signer: type[SigV4Auth] = SigV4Auth,
    *,
    url: str = "http://127.0.0.1:4566" + PATH,
    body: bytes = b"{}",
    headers: Mapping[str, str] | None = None,
    key: AccessKey = KEY,
    service: str = "lambda",
    region: str = "eu-central-1",
    method: str = "POST",
    **options: int,
) -> HttpRequest:
    """A request as our HTTP server hands it over, signed by botocore."""
    if issubclass(signer, SigV4QueryAuth):
        body = b""  # botocore would move a body into the query
    host = urlsplit(url).netloc
    request = AWSRequest(method, url, data=body, headers={"Host": host, **(headers or {})})
    credentials = Credentials(key.access_key, key.secret, key.session_token)
    signer(credentials, service, region, **options).add_auth(request)
    parts = urlsplit(str(request.url))
    target = parts.path + ("?" + parts.query if parts.query else "")
    sent = {name.lower(): value.strip() for name, value in request.headers.items()}
    return HttpRequest(method, target, sent, body, {}, "127.0.0.1:1")


def verifier(*keys: AccessKey, shift: timedelta = timedelta(0)) -> SigV4Verifier:
    return SigV4Verifier(KeyTable(*(keys or (KEY, TEMPORARY))), ShiftedClock(shift))


def refusal(
    request: HttpRequest, service: str = "lambda", verify: SigV4Verifier | None = None
) -> SignatureError:
    with pytest.raises(SignatureError) as caught:
        (verify or verifier()).verify(request, service)
    return caught.value


def with_authorization(request: HttpRequest, change: Callable[[str], str]) -> HttpRequest:
    authorization = change(request.headers["authorization"])
    return replace(request, headers={**request.headers, "authorization": authorization})


# The oracle

SEGMENT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8).map(
    lambda text: quote(text, safe="-_.~")
)
PATHS = st.lists(SEGMENT | st.sampled_from([".", "..", ""]), max_size=6).map(
    lambda segments: "/" + "/".join(segments)
)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
QUERIES = st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=4).map(
    lambda pairs: "&".join(f"{quote(n, safe='-_.~')}={quote(v, safe='-_.~')}" for n, v in pairs)
)
HEADERS = st.dictionaries(
    st.sampled_from(["x-amz-a", "X-Amz-B", "content-type", "accept", "amz-sdk-request"]),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=12),
)
SIGNERS = st.sampled_from([SigV4Auth, SigV4QueryAuth])
S3_SIGNERS = st.sampled_from([S3SigV4Auth, S3SigV4QueryAuth])


@given(SIGNERS, PATHS, QUERIES, HEADERS, st.binary(max_size=40), st.booleans())
def test_what_botocore_signs_is_accepted(
    signer: type[SigV4Auth],
    path: str,
    query: str,
    headers: dict[str, str],
    body: bytes,
    temporary: bool,
) -> None:
    url = f"http://h:1{path}" + (f"?{query}" if query else "")
    key = TEMPORARY if temporary else KEY
    request = signed(signer, url=url, headers=headers, body=body, key=key)
    assert verifier().verify(request, "lambda") == replace(CALLER, access_key=key.access_key)


@given(S3_SIGNERS, PATHS, QUERIES, st.binary(max_size=40))
def test_what_botocore_signs_for_s3_is_accepted(
    signer: type[SigV4Auth], path: str, query: str, body: bytes
) -> None:
    url = f"http://h:1{path}" + (f"?{query}" if query else "")
    request = signed(signer, url=url, body=body, service="s3", method="PUT")
    assert verifier().verify(request, "s3") == CALLER


@given(SIGNERS, st.sampled_from(["method", "path", "query", "body", "header", "host", "secret"]))
def test_whatever_is_changed_after_signing_is_noticed(signer: type[SigV4Auth], what: str) -> None:
    request = signed(signer, headers={"x-amz-a": "b"})
    keys = KEY
    match what:
        case "method":
            request = replace(request, method="PUT")
        case "path":
            request = replace(request, target=request.target.replace("hello", "other"))
        case "query":
            joint = "&" if "?" in request.target else "?"
            request = replace(request, target=f"{request.target}{joint}Qualifier=1")
        case "body":
            request = replace(request, body=b"{1}")
        case "header":
            request = replace(request, headers={**request.headers, "x-amz-a": "c"})
        case "host":
            request = replace(request, headers={**request.headers, "host": "elsewhere"})
        case "secret":
            keys = replace(KEY, secret="another")
    error = refusal(request, verify=verifier(keys))
    assert isinstance(error, InvalidSignature)
    assert error.message == MISMATCH


# AWS's words


def test_a_request_without_a_signature() -> None:
    error = refusal(HttpRequest("GET", PATH, {"host": "h"}, b"", {}, ""))
    assert isinstance(error, MissingAuthenticationToken)
    assert (error.code, error.status) == ("MissingAuthenticationTokenException", 403)
    assert error.message == "Missing Authentication Token"
    assert error.query_code == "MissingAuthenticationToken"
    assert error.query_message == "Request is missing Authentication Token"
    assert error.blame is None


@pytest.mark.parametrize(
    ("key", "known"),
    [
        (replace(KEY, access_key="AKIAOTHER"), KEY),
        (replace(KEY, session_token="stray"), KEY),
        (replace(TEMPORARY, session_token=None), TEMPORARY),
        (replace(TEMPORARY, session_token="other"), TEMPORARY),
    ],
)
def test_an_unknown_key_or_token(key: AccessKey, known: AccessKey) -> None:
    error = refusal(signed(key=key), verify=verifier(known))
    assert isinstance(error, UnrecognizedClient)
    assert (error.code, error.status) == ("UnrecognizedClientException", 403)
    assert error.message == "The security token included in the request is invalid."
    assert (error.query_code, error.query_message) == ("InvalidClientTokenId", error.message)


def test_a_wrong_signature() -> None:
    request = with_authorization(signed(), lambda text: text[:-64] + "0" * 64)
    error = refusal(request)
    assert (error.code, error.status) == ("InvalidSignatureException", 403)
    assert error.message == MISMATCH
    assert error.query_code == "SignatureDoesNotMatch"
    for signature in ("0", "A" * 64, "\xe9" * 64):
        damaged = with_authorization(request, lambda text, s=signature: text[:-64] + s)  # type: ignore[misc]
        assert refusal(damaged).message == MISMATCH


def dated(text: str, *, name: str = "x-amz-date") -> HttpRequest:
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261123/eu-central-1/lambda/aws4_request,"
        f" SignedHeaders=host;{name}, Signature={'0' * 64}"
    )
    headers = {"host": "h", name: text, "authorization": authorization}
    return HttpRequest("GET", PATH, headers, b"", {}, "")


FIXED = SigV4Verifier(KeyTable(KEY), FixedClock())


def test_an_old_signature() -> None:
    error = refusal(dated("20261123T100959Z"), verify=FIXED)
    assert isinstance(error, InvalidSignature)
    assert error.message == (
        "Signature expired: 20261123T100959Z is now earlier than 20261123T101000Z"
        " (20261123T101500Z - 5 min.)"
    )
    assert refusal(dated("20261123T101000Z"), verify=FIXED).message == MISMATCH


def test_a_signature_from_the_future() -> None:
    error = refusal(dated("20261123T102001Z"), verify=FIXED)
    assert isinstance(error, InvalidSignature)
    assert error.message == (
        "Signature not yet current: 20261123T102001Z is still later than 20261123T102000Z"
        " (20261123T101500Z + 5 min.)"
    )
    assert refusal(dated("20261123T102000Z"), verify=FIXED).message == MISMATCH


@pytest.mark.parametrize("text", ["201", "20261323T101500Z", "20261123T10:15Z", "yesterday"])
def test_a_date_that_is_none(text: str) -> None:
    error = refusal(dated(text), verify=FIXED)
    assert isinstance(error, IncompleteSignature)
    assert (error.code, error.status) == ("IncompleteSignatureException", 400)
    assert error.query_code == "IncompleteSignature"
    assert error.message == (
        f"Date must be in ISO-8601 'basic format'. Got '{text}'."
        " See http://en.wikipedia.org/wiki/ISO_8601"
    )


def test_a_plain_date_header_will_do() -> None:
    request = signed(headers={"Date": "is replaced by the signer"})
    assert "x-amz-date" not in request.headers
    assert verifier().verify(request, "lambda") == CALLER


@pytest.mark.parametrize(
    ("authorization", "sentences"),
    [
        ("AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b", "S"),
        ("AWS4-HMAC-SHA256 Credential=a, Signature=b", "H"),
        ("AWS4-HMAC-SHA256 Signature=a,SignedHeaders=b", "C"),
        ("AWS4-HMAC-SHA256 Credential=,Signature=,SignedHeaders=", "CSH"),
        ("Basic YWJj=", "CSHD"),
    ],
)
def test_missing_parameters_are_all_named(authorization: str, sentences: str) -> None:
    texts = {
        "C": "Authorization header requires 'Credential' parameter. ",
        "S": "Authorization header requires 'Signature' parameter. ",
        "H": "Authorization header requires 'SignedHeaders' parameter. ",
        "D": "Authorization header requires existence of either"
        " a 'X-Amz-Date' or a 'Date' header. ",
    }
    headers = {"host": "h", "authorization": authorization}
    if "D" not in sentences:
        headers["x-amz-date"] = "20261123T101500Z"
    error = refusal(HttpRequest("GET", PATH, headers, b"", {}, ""), verify=FIXED)
    assert isinstance(error, IncompleteSignature)
    digest = base64.b64encode(hashlib.sha256(authorization.encode()).digest()).decode()
    assert error.message == (
        "".join(texts[letter] for letter in sentences)
        + f"(Hashed with SHA-256 and encoded with Base64) Authorization={digest}"
    )


@pytest.mark.parametrize("authorization", ["Bearer abc", "abc", "AWS4-HMAC-SHA256 Credential= a"])
def test_an_authorization_of_another_kind(authorization: str) -> None:
    headers = {"host": "h", "authorization": authorization}
    error = refusal(HttpRequest("GET", PATH, headers, b"", {}, ""), verify=FIXED)
    assert isinstance(error, IncompleteSignature)
    digest = base64.b64encode(hashlib.sha256(authorization.encode()).digest()).decode()
    assert error.message == (
        "Invalid key=value pair (missing equal-sign) in Authorization header"
        f" (hashed with SHA-256 and encoded with Base64): '{digest}'."
    )


def test_another_algorithm() -> None:
    request = with_authorization(signed(), lambda text: text.replace("SHA256", "SHA512"))
    error = refusal(request)
    assert isinstance(error, IncompleteSignature)
    assert error.message == (
        "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA512' (only AWS4-HMAC-SHA256 for now). "
    )


def test_a_credential_with_parts_missing() -> None:
    request = with_authorization(signed(), lambda text: text.replace("/aws4_request", ""))
    error = refusal(request)
    assert isinstance(error, IncompleteSignature)
    assert error.message.startswith("Credential must have exactly 5 slash-delimited elements,")


def test_a_credential_for_another_service() -> None:
    error = refusal(signed(service="es"))
    assert isinstance(error, InvalidSignature)
    assert error.message == "Credential should be scoped to correct service: 'lambda'. "


def test_every_fault_of_a_scope_is_named() -> None:
    request = with_authorization(
        dated("20261123T101500Z"),
        lambda text: text.replace("20261123/eu-central-1/lambda/aws4_request", "b/c/d/e"),
    )
    assert refusal(request, verify=FIXED).message == (
        "Credential should be scoped to a valid region, not 'c'. "
        "Credential should be scoped to correct service: 'lambda'. "
        "Credential should be scoped with a valid terminator: 'aws4_request', not 'e'. "
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP:"
        " 'b' != '20261123', from '20261123T101500Z'."
    )


def test_the_host_must_be_signed() -> None:
    request = with_authorization(signed(), lambda text: text.replace("host;", ""))
    error = refusal(request)
    assert isinstance(error, InvalidSignature)
    assert error.message == (
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
    )


def test_every_amazon_header_must_be_signed() -> None:
    request = signed()
    request.headers["x-amz-invocation-type"] = "Event"
    error = refusal(request)
    assert isinstance(error, InvalidSignature)
    assert "'x-amz-invocation-type' must be a 'SignedHeader'" in error.message


def test_a_header_that_no_client_signs_may_be_added_on_the_way() -> None:
    request = signed()
    request.headers["x-amzn-trace-id"] = "Root=1-2-3"
    assert verifier().verify(request, "lambda") == CALLER


def test_a_signed_header_that_got_lost() -> None:
    request = signed(headers={"accept": "a/b"})
    del request.headers["accept"]
    error = refusal(request)
    assert isinstance(error, IncompleteSignature)
    assert error.message == (
        "'accept' is named as a SignedHeader, but it does not exist in the HTTP request."
    )


def test_only_s3_takes_an_unsigned_payload() -> None:
    headers = {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    assert refusal(signed(headers=headers)).message == MISMATCH
    request = signed(headers=headers, service="s3")
    assert verifier().verify(replace(request, body=b"anything"), "s3") == CALLER


def test_the_header_may_be_spelled_in_other_ways() -> None:
    for change in (", ", ",", " "):
        request = with_authorization(signed(), lambda text, c=change: text.replace(", ", c))  # type: ignore[misc]
        assert verifier().verify(request, "lambda") == CALLER
    request = with_authorization(
        signed(), lambda text: " ".join([text.split(" ")[0], *reversed(text.split(" ")[1:])])
    )
    assert verifier().verify(request, "lambda") == CALLER


# Presigned URLs


def test_a_presigned_url_holds_as_long_as_it_says() -> None:
    request = signed(SigV4QueryAuth, expires=3600)
    late, too_late = timedelta(minutes=59), timedelta(minutes=61)
    assert verifier(shift=late).verify(request, "lambda") == CALLER
    message = refusal(request, verify=verifier(shift=too_late)).message
    assert message.startswith("Signature expired: ")
    assert message.endswith("Z - 60 min.)")


@pytest.mark.parametrize("expires", ["", "-1", "604801", "\xb2", "1e3"])
def test_a_presigned_url_with_an_absurd_lifetime(expires: str) -> None:
    request = signed(SigV4QueryAuth, expires=3600)
    request = replace(request, target=request.target.replace("Expires=3600", f"Expires={expires}"))
    assert isinstance(refusal(request), IncompleteSignature)


def test_a_presigned_url_with_parameters_missing() -> None:
    request = HttpRequest("GET", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256", {"host": "h"}, b"", {}, "")
    assert refusal(request).message == (
        "AWS query-string parameters must include 'X-Amz-Credential'. "
        "AWS query-string parameters must include 'X-Amz-Signature'. "
        "AWS query-string parameters must include 'X-Amz-SignedHeaders'. "
        "AWS query-string parameters must include 'X-Amz-Date'. "
        "Re-examine the query-string parameters."
    )


def test_two_signatures_are_one_too_many() -> None:
    request = signed(SigV4QueryAuth)
    request.headers["authorization"] = "AWS4-HMAC-SHA256 Credential=a"
    error = refusal(request)
    assert isinstance(error, InvalidSignature)
    assert error.message.startswith("Found both 'X-Amz-Algorithm'")


# What is remembered


def test_a_key_that_is_removed_or_changed_is_void_at_once() -> None:
    keys = KeyTable(KEY)
    verify = SigV4Verifier(keys, ShiftedClock())
    assert verify.verify(signed(), "lambda") == CALLER
    keys.table[KEY.access_key] = replace(KEY, secret="another")
    assert refusal(signed(), verify=verify).message == MISMATCH
    moved = replace(KEY, account=AccountId("210987654321"))
    keys.table[KEY.access_key] = moved
    assert verify.verify(signed(), "lambda").account == moved.account
    keys.table.clear()
    assert isinstance(refusal(signed(), verify=verify), UnrecognizedClient)


def test_what_is_remembered_is_bounded_and_only_of_the_verified() -> None:
    keys = KeyTable(*(replace(KEY, access_key=f"AKIA{n}") for n in range(CREDENTIALS_MAX + 1)))
    verify = SigV4Verifier(keys, ShiftedClock())
    refusal(signed(key=replace(KEY, secret="another", access_key="AKIA0")), verify=verify)
    assert len(verify._known) == 0
    for key in keys.table.values():
        verify.verify(signed(key=key), "lambda")
        assert len(verify._known) <= CREDENTIALS_MAX


# Open authentication


def test_open_authentication_believes_everybody() -> None:
    key = replace(KEY, access_key="111122223333", secret="whatever")
    for signer in (SigV4Auth, SigV4QueryAuth):
        assert OpenAuth().verify(signed(signer, key=key), "lambda") == Caller(
            AccountId("111122223333"),
            Region("eu-central-1"),
            "111122223333",
            "arn:aws:iam::111122223333:root",
        )
    caller = OpenAuth().verify(signed(), "lambda")
    assert (caller.account, caller.access_key) == (DEFAULT_ACCOUNT, KEY.access_key)


@given(st.text(st.characters(max_codepoint=0xFF)), st.booleans())
def test_open_authentication_never_raises(text: str, is_scope: bool) -> None:
    authorization = f"AWS4-HMAC-SHA256 Credential={text}" if is_scope else text
    request = HttpRequest("GET", f"/?{text}", {"authorization": authorization}, b"", {}, "")
    assert OpenAuth().verify(request, "lambda").region


def test_open_authentication_without_credentials() -> None:
    caller = OpenAuth().verify(HttpRequest("GET", "/", {}, b"", {}, ""), "lambda")
    assert caller == Caller(
        DEFAULT_ACCOUNT, DEFAULT_REGION, "", f"arn:aws:iam::{DEFAULT_ACCOUNT}:root"
    )


def test_open_authentication_falls_back_to_a_region_that_exists() -> None:
    assert OpenAuth().verify(signed(region="local"), "lambda").region == DEFAULT_REGION


def test_open_authentication_remembers_only_so_much() -> None:
    auth = OpenAuth()
    for number in range(CREDENTIALS_MAX + 10):
        headers = {
            "authorization": f"Credential={number}/20261123/eu-central-1/lambda/aws4_request"
        }
        auth.verify(HttpRequest("GET", "/", headers, b"", {}, ""), "lambda")
        assert len(auth._known) <= CREDENTIALS_MAX
