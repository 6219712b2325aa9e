"""Which requests are in these bytes? HTTP/1.0 and 1.1, pure: bytes in, requests or a refusal out.

Strict where leniency lets two parsers disagree about where a message ends (request smuggling):
CRLF only, no folded lines, no space before a colon, one Content-Length or one Transfer-Encoding,
never both. Work is linear in the bytes, however they are cut into pieces.

    HEAD --no body------------------------------------------> request
      |---Content-Length--> FIXED --------------------------> request
      `---chunked--> CHUNKED (hearth.base.http1_chunked) ---> request

Source: RFC 9112.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

from hearth.base.http1_chunked import ChunkedBody
from hearth.base.http1_exchange import IncomingBody
from hearth.base.http1_fields import LEGAL, HttpRefusal, parse_fields, split_lines

LENGTH_DIGITS_MAX: Final = 18
HEADERS_MAX: Final = 256
KNOWN_BYTES_MAX: Final = 1_024
"""A longer head is not remembered."""
_UNUSUAL: Final = frozenset({"transfer-encoding", "connection", "expect"})
_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"})
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
_VERSION = re.compile(r"HTTP/(\d)\.\d", re.ASCII)
_ABSOLUTE = re.compile(r"https?://([^/?#@]+)((?:[/?].*)?)", re.IGNORECASE)
_NO_TRAILERS: Final[dict[str, str]] = {}


@dataclass(slots=True)
class HttpRequest:
    """One whole request."""

    method: str
    target: str
    """Path and query as sent, still percent-encoded; each byte one latin-1 character."""
    headers: dict[str, str]
    """Lower-case names; repeated ones joined by a comma and a space."""
    body: bytes
    """Complete, without the chunks' frames."""
    trailers: dict[str, str]
    """The fields after the last chunk; never mixed into `headers`."""
    peer: str
    """`127.0.0.1:1234`, or nothing on a unix socket."""
    stream: IncomingBody | None = None
    """The body where it is handed on as it comes; `body` and `trailers` are empty then."""


Streams = Callable[[str, dict[str, str]], bool]
"""Is the body of a request with this target and these headers to be handed on as it comes?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one client may cost. A time limit ends a connection a quarter of itself late at most."""

    head_bytes_max: int = 65_536
    body_bytes_max: int = 70_167_211
    head_timeout_s: float = 30.0
    """From the first byte of a head to its last."""
    body_timeout_s: float = 60.0
    """Without a byte of the body."""
    idle_timeout_s: float = 75.0
    """Between two requests."""
    write_timeout_s: float = 60.0
    """Without the client reading a byte of a response."""
    connections_max: int = 4_096
    closes_idle_for_new: bool = True
    """Of too many connections, close the oldest that asks for nothing, not the one that comes."""
    held_bytes_max: int = 1_073_741_824
    """Bodies that are still arriving, of all connections together."""


class Phase(Enum):
    """What the parser is waiting for."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()


class _Known(NamedTuple):
    """The fields of a head that was in order, and what they say."""

    fields: bytes
    """From the end of the request line on."""
    headers: dict[str, str]
    wanted: int


class RequestParser:
    """Feed it bytes; take requests one at a time, so that the rest stays unparsed meanwhile."""

    __slots__ = (
        "_body",
        "_buffer",
        "_chunked",
        "_head",
        "_known",
        "_limits",
        "_peer",
        "_pos",
        "_refusal",
        "_scanned",
        "_streams",
        "_wanted",
        "is_old",
        "is_streaming",
        "keep_alive",
        "received",
        "wants_continue",
    )

    def __init__(self, limits: HttpLimits, peer: str = "", streams: Streams | None = None) -> None:
        self.keep_alive = True
        """Whether the connection may live on after the request that was taken last."""
        self.is_old = False
        """Whether that request was HTTP/1.0, where living on must be said."""
        self.received = 0
        """Bytes of the current body so far: tells a slow client from a stopped one."""
        self.wants_continue = False
        """The client waits for `100 Continue`; the caller clears this when it has sent one."""
        self.is_streaming = False
        """The request that was taken last has a body that is still to be taken by `next_piece`."""
        self._limits = limits
        self._peer = peer
        self._streams = streams
        self._buffer: bytes | bytearray = b""
        self._pos = 0
        self._scanned = 0  # bytes after _pos that cannot begin the end of the head
        self._head: tuple[str, str, dict[str, str]] | None = None
        self._known: _Known | None = None
        self._wanted = 0  # bytes of a body of known length
        self._body = bytearray()
        self._chunked: ChunkedBody | None = None
        self._refusal: HttpRefusal | None = None

    @property
    def phase(self) -> Phase:
        if self._head is not None or self.is_streaming:
            return Phase.BODY
        return Phase.HEAD if self.buffered else Phase.IDLE

    @property
    def buffered(self) -> int:
        """Bytes that were fed and not yet looked at."""
        return len(self._buffer) - self._pos

    def feed(self, data: bytes) -> None:
        """Take more bytes. Look at them with `next_request`."""
        buffer = self._buffer
        if self._pos == len(buffer):
            self._buffer = data
        elif isinstance(buffer, bytearray):
            del buffer[: self._pos]
            buffer += data
        else:
            self._buffer = bytearray(buffer[self._pos :])
            self._buffer += data
        self._pos = 0

    def next_request(self) -> HttpRequest | None:
        """The next complete request, or None if bytes are missing.

        Raises HttpRefusal, then and ever after, if the bytes are no acceptable request.
        """
        if self._refusal is not None:
            raise self._refusal
        try:
            if self._head is None:
                if not self._take_head():
                    return None
                if self._streams is not None and self._begins_stream(self._streams):
                    wants_continue = self.wants_continue  # its body is still to come
                    request = self._finish(b"", _NO_TRAILERS)
                    self.wants_continue = wants_continue
                    return request
            return self._take_chunked() if self._chunked is not None else self._take_fixed()
        except HttpRefusal as refusal:
            self._refusal = refusal
            raise

    def next_piece(self) -> tuple[bytes, dict[str, str] | None]:
        """What has come of the body since; the trailers once it has ended. Only while is_streaming.

        Raises HttpRefusal.
        """
        trailers: dict[str, str] | None
        if self._chunked is None:
            end = min(len(self._buffer), self._pos + self._wanted)
            piece = bytes(self._buffer[self._pos : end])
            self._pos = end
            self._wanted -= len(piece)
            trailers = None if self._wanted else {}
        else:
            self._pos, ended = self._chunked.take(self._buffer, self._pos)
            piece = self._chunked.taken()
            trailers = self._chunked.result()[1] if ended else None
        if trailers is not None:
            self.is_streaming = False
            self._chunked = None
        return piece, trailers

    def _begins_stream(self, streams: Streams) -> bool:
        assert self._head is not None
        if not self._wanted and self._chunked is None:
            return False
        _, target, headers = self._head
        self.is_streaming = streams(target, headers)
        if self.is_streaming and self._chunked is not None:
            self._chunked = ChunkedBody(sys.maxsize, self._limits.head_bytes_max)
        return self.is_streaming

    def _take_head(self) -> bool:
        buffer, start = self._buffer, self._pos
        while buffer.startswith(b"\r\n", start):  # RFC 9112 2.2: left over from a body
            start += 2
            self._scanned = 0
        self._pos = start
        if len(buffer) > start and buffer[start] < 0x20 and buffer[start] != 0x0D:
            # Another protocol, TLS most likely: no end of a head will ever come.
            raise HttpRefusal(400, "Malformed request line.")
        end = buffer.find(b"\r\n\r\n", start + self._scanned)
        length = (end if end >= 0 else len(buffer) - 3) - start
        if length > self._limits.head_bytes_max:
            raise HttpRefusal(431, "Request head is too large.")
        if end < 0:
            self._scanned = max(0, length)
            return False
        self._scanned = 0
        self._pos = end + 4
        head = buffer[start:end]
        if self._known is None or not self._take_known(head, self._known):
            self._read_head(split_lines(head))
            self._remember(head)
        return True

    def _remember(self, head: bytes | bytearray) -> None:
        """Who polls, and who answers, sends the same fields again and again. Signed requests differ
        each time; and where fields say something special, they are looked at anew each time."""
        assert self._head is not None
        headers = self._head[2]
        if "authorization" in headers or len(head) > KNOWN_BYTES_MAX:
            return
        is_plain = head.startswith(b"/", head.index(b" ") + 1)  # else the target names the host
        is_usual = is_plain and not self.is_old and _UNUSUAL.isdisjoint(headers)
        if is_usual:
            fields = bytes(head[head.index(b"\r\n") :])
            self._known = _Known(fields, headers.copy(), self._wanted)

    def _take_known(self, head: bytes | bytearray, known: _Known) -> bool:
        """If all but the request line is as it was. False: it must be read, and may be refused."""
        if not head.endswith(known.fields):
            return False
        raw = head[: -len(known.fields)]
        if raw.translate(None, LEGAL):  # another line, most likely
            return False
        parts = str(raw, "latin-1").split(" ")
        if len(parts) != 3 or parts[0] not in _METHODS or parts[2] != "HTTP/1.1":
            return False
        method, target, _ = parts
        if target[:1] != "/" or "\t" in target:
            return False
        self.is_old, self.keep_alive = False, True
        self.received, self._wanted = 0, known.wanted
        self._head = method, target, known.headers.copy()
        return True

    def _read_head(self, lines: list[str]) -> None:
        if len(lines) > HEADERS_MAX:
            raise HttpRefusal(431, "Too many header fields.")
        try:
            method, target, version = lines[0].split(" ")
        except ValueError:
            raise HttpRefusal(400, "Malformed request line.") from None
        if method not in _METHODS and not _METHOD.fullmatch(method):
            raise HttpRefusal(400, "Malformed request line.")
        self.is_old = is_old = version != "HTTP/1.1" and _is_http_1_0(version)
        del lines[0]
        headers = parse_fields(lines)
        if "\t" in target:
            raise HttpRefusal(400, "Malformed request target.")
        if target[:1] != "/":
            target = _origin_form(method, target, headers)
        if "host" not in headers and not is_old:
            raise HttpRefusal(400, "Missing Host header.")
        connection = headers.get("connection")
        self.keep_alive = not is_old if connection is None else _keeps(connection, is_old)
        self._frame(headers, is_old, (method, target))
        if "expect" in headers and not is_old:
            self._expect(headers["expect"])
        self._head = method, target, headers

    def _frame(self, headers: dict[str, str], is_old: bool, asked: tuple[str, str]) -> None:
        """Find out where the body ends: the one thing that must not be ambiguous."""
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        self.received = 0
        self._wanted = 0
        if coding is not None:
            if length is not None or is_old:
                raise HttpRefusal(400, "Ambiguous message length.")
            if coding.lower() != "chunked":
                raise HttpRefusal(501, "Unsupported transfer coding.")
            self._chunked = ChunkedBody(self._limits.body_bytes_max, self._limits.head_bytes_max)
        elif length is not None:
            if not (length.isascii() and length.isdecimal() and len(length) <= LENGTH_DIGITS_MAX):
                raise HttpRefusal(400, "Malformed Content-Length.")
            self._wanted = int(length)
            if self._wanted > self._limits.body_bytes_max:
                raise HttpRefusal(413, "Request body is too large.", asked)

    def _expect(self, expectation: str) -> None:
        if expectation.lower() != "100-continue":
            raise HttpRefusal(417, "Unknown expectation.")
        # A client that has begun to send the body does not wait.
        self.wants_continue = not self.buffered and (self._wanted > 0 or self._chunked is not None)

    def _take_fixed(self) -> HttpRequest | None:
        buffer, start, wanted = self._buffer, self._pos, self._wanted
        missing = wanted - self.received
        available = len(buffer) - start
        if available >= missing:
            self._pos = end = start + missing
            if missing == wanted:
                body = bytes(buffer[start:end])
            else:
                self._body += buffer[start:end]
                body = bytes(self._body)
                self._body = bytearray()
            return self._finish(body, _NO_TRAILERS)
        if available:
            self._body += buffer[start:] if start else buffer
            self._buffer, self._pos = b"", 0
            self.received += available
            self.wants_continue = False
        return None

    def _take_chunked(self) -> HttpRequest | None:
        assert self._chunked is not None
        before = self._pos
        self._pos, ended = self._chunked.take(self._buffer, before)
        self.received += self._pos - before
        if not ended:
            return None
        body, trailers = self._chunked.result()
        self._chunked = None
        return self._finish(body, trailers)

    def _finish(self, body: bytes, trailers: dict[str, str]) -> HttpRequest:
        assert self._head is not None
        method, target, headers = self._head
        self._head = None
        self.wants_continue = False
        if trailers is _NO_TRAILERS:
            trailers = {}
        return HttpRequest(method, target, headers, body, trailers, self._peer)


def _is_http_1_0(version: str) -> bool:
    """Raises HttpRefusal for what is not HTTP/1.x."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise HttpRefusal(400, "Malformed request line.")
    if match[1] != "1":
        raise HttpRefusal(505, "HTTP version not supported.")
    return version == "HTTP/1.0"


def _keeps(connection: str, is_old: bool) -> bool:
    tokens = [token.strip() for token in connection.lower().split(",")]
    if "close" in tokens:
        return False
    return not is_old or "keep-alive" in tokens


def _origin_form(method: str, target: str, headers: dict[str, str]) -> str:
    """`http://host/path?query` as a proxy's client sends it; its host beats the header's."""
    if target == "*" and method == "OPTIONS":
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise HttpRefusal(400, "Malformed request target.")
    headers["host"] = match[1]
    return match[2] if match[2].startswith("/") else "/" + match[2]
