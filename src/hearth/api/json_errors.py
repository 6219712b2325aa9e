"""What is wrong with this JSON? Said as Jackson, AWS's parser, says it.

A request that is no JSON is told why, with line and column, in the words that AWS's callers know:

    Unrecognized token 'hello': was expecting (JSON String, Number, Array, Object or token 'null',
    'true' or 'false')
     at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, …]

Runs only after a fast check has failed, and not for long: of a fault that is far behind in a large
text only the kind and the place are said, as the fast check knows them. Columns are Jackson's: one
past what was read, counted in bytes. Its texts:
com.fasterxml.jackson.core.json.UTF8StreamJsonParser and its base classes.
"""

import re
from collections.abc import Callable
from typing import Final

SOURCE: Final = "REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled)"
DEPTH_MAX: Final = 1_000
"""Jackson's own bound for nesting."""

TOKEN_SHOWN_MAX: Final = 256
STEPS_MAX: Final = 20_000
"""Tens of milliseconds, in which nobody else is served."""
_SPACE: Final = b" \t\r\n"
_DIGITS: Final = b"0123456789"
_WORD = re.compile(rb"[A-Za-z0-9_$]+")
_SPACES = re.compile(rb"[ \t\r\n]*")
_SURROGATE_AT_END = re.compile(rb"\\u[dD][89a-fA-F]")
_PLACE = re.compile(r"\(byte (\d+)\)")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f\x80-\xff]*')
_ESCAPED: Final = b'"\\/bfnrt'
_HEX: Final = b"0123456789abcdefABCDEF"
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_VALUE: Final = "JSON String, Number, Array, Object or token 'null', 'true' or 'false'"
_LITERALS: Final = {b"true": "VALUE_TRUE", b"false": "VALUE_FALSE", b"null": "VALUE_NULL"}
_NOT_STANDARD: Final = (b"NaN", b"Infinity")
_TYPES: Final = {b"}": "Object", b"]": "Array", b"": "root"}
_ROOT: Final = f"[Source: {SOURCE}; line: 1, column: 0]"
_COMMENT: Final = (
    "maybe a (non-standard) comment? (not recognized as one since Feature 'ALLOW_COMMENTS' not "
    "enabled for parser)"
)
_PLUS: Final = (
    "JSON spec does not allow numbers to have plus signs: enable "
    "`JsonReadFeature.ALLOW_LEADING_PLUS_SIGN_FOR_NUMBERS` to allow"
)


def describe(
    text: bytes, error: Exception | None = None, *, steps_max: int = STEPS_MAX
) -> str | None:
    """Jackson's message with its location, or None if nothing is wrong; `error` is what the fast
    check found."""
    try:
        _Scanner(text, steps_max).document()
    except _Malformed as fault:
        if fault.position is None:
            return str(fault)
        return f"{fault}\n at {_place(text, fault.position)}"
    except _TooLong:
        return None if error is None else _roughly(text, error)
    return None


def _roughly(text: bytes, error: Exception) -> str | None:
    """None where the fast check is stricter than Jackson, or may be."""
    if isinstance(error, UnicodeDecodeError):
        message = f"Invalid UTF-8 start byte {text[error.start]:#x}"
        return f"{message}\n at {_place(text, error.start + 1)}"
    place = _PLACE.search(str(error))
    if place is None:
        is_cut = "truncated" in str(error) and _SURROGATE_AT_END.search(text[-16:]) is None
        return f"Unexpected end-of-input\n at {_place(text, len(text))}" if is_cut else None
    at = int(place[1])
    if "surrogate" in str(error) or at >= len(text):
        return None
    message = f"Unexpected character {_shown(text[at : at + 1], True)}: expected a valid value"
    return f"{message} ({_VALUE})\n at {_place(text, at + 1)}"


def _place(text: bytes, position: int) -> str:
    before = text[:position]
    line = before.count(b"\n") + 1
    column = position - (before.rfind(b"\n") + 1) + 1
    return f"[Source: {SOURCE}; line: {line}, column: {column}]"


class _Malformed(Exception):
    def __init__(self, message: str, position: int | None) -> None:
        super().__init__(message)
        self.position = position


class _TooLong(Exception):
    """Nothing was wrong so far."""


class _Scanner:
    """Walks one document. The open containers are a stack, so that depth costs no recursion."""

    def __init__(self, text: bytes, steps_max: int = STEPS_MAX) -> None:
        self._text = text
        self._left = steps_max
        self._at = 0
        self._open: list[tuple[bytes, int]] = []
        """What closes each container, and where it began."""

    def document(self) -> None:
        self._skip_space(str)
        self._refuse_a_close()
        self._value()
        while self._open:
            self._after_value()
        self._skip_space(None)
        if self._at < len(self._text):
            self._refuse_a_close()
            kind = self._value()
            raise _Malformed(
                f"Trailing token (of type {kind}) found after value (bound as "
                "`com.fasterxml.jackson.databind.JsonNode`): not allowed as per "
                "`DeserializationFeature.FAIL_ON_TRAILING_TOKENS`",
                self._at,
            )

    @property
    def _closing(self) -> bytes:
        """What closes the innermost container; nothing at the root."""
        return self._open[-1][0] if self._open else b""

    @property
    def _type(self) -> str:
        return _TYPES[self._closing]

    def _unclosed(self) -> str:
        """The end of the text inside a container, after a value or before the first."""
        if not self._open:
            return ""
        closing, start = self._open[-1]
        place = _place(self._text, start)
        return f": expected close marker for {_TYPES[closing]} (start marker at {place})"

    def _between(self) -> str:
        """The end of the text where an entry has begun, or must."""
        return f" within/between {self._type} entries"

    def _value(self) -> str:
        """One scalar, or the opening of a container together with its first value. Returns
        Jackson's name of what it began with."""
        kind = ""
        while True:
            start = self._peek()
            if start not in b"{[":
                scalar = self._scalar(start)
                return kind or scalar
            kind = kind or ("START_OBJECT" if start == b"{" else "START_ARRAY")
            self._enter(b"}" if start == b"{" else b"]")
            self._skip_space(self._unclosed)
            if self._peek() == self._closing:
                self._leave()
                return kind
            self._refuse_a_close()
            if start == b"{":
                self._name()

    def _after_value(self) -> None:
        """A comma and the next value, or the end of the innermost container."""
        self._step()
        self._skip_space(self._unclosed)
        if self._peek() == self._closing:
            self._leave()
            return
        self._refuse_a_close()
        if self._peek() != b",":
            raise self._unexpected(f"was expecting comma to separate {self._type} entries")
        self._at += 1
        self._skip_space(self._between)
        if self._closing == b"}":
            self._name()
        self._value()

    def _refuse_a_close(self) -> None:
        found = self._peek()
        if found not in b"}]":
            return
        place = _place(self._text, self._open[-1][1]) if self._open else _ROOT
        raise _Malformed(
            f"Unexpected close marker '{found.decode()}': expected "
            f"'{']' if found == b'}' else '}'}' (for {self._type} starting at {place})",
            self._at + 1,
        )

    def _enter(self, closing: bytes) -> None:
        if len(self._open) == DEPTH_MAX:
            raise _Malformed(
                f"Document nesting depth ({DEPTH_MAX + 1}) exceeds the maximum allowed "
                f"({DEPTH_MAX}, from `StreamReadConstraints.getMaxNestingDepth()`)",
                None,
            )
        self._open.append((closing, self._at))
        self._at += 1

    def _leave(self) -> None:
        self._open.pop()
        self._at += 1

    def _name(self) -> None:
        if self._peek() != b'"':
            raise self._unexpected("was expecting double-quote to start field name")
        self._string("name", ": was expecting closing '\"' for name")
        self._skip_space(self._between)
        if self._peek() != b":":
            raise self._unexpected("was expecting a colon to separate field name and value")
        self._at += 1
        self._skip_space(self._between)

    def _scalar(self, start: bytes) -> str:
        if start == b'"':
            self._string("string value", " in VALUE_STRING")
            return "VALUE_STRING"
        if start == b"-" or start in _DIGITS:
            return self._number()
        if _is_word(start.decode("latin-1")):
            return self._literal()
        if start == b"+":
            self._at += 1
            self._peek(" in VALUE_NUMBER_INT")
            raise _Malformed(
                f"Unexpected character {_shown(b'+', True)} in numeric value: {_PLUS}", self._at + 1
            )
        if start in b",}" or (start == b"]" and self._closing == b"]"):
            raise self._unexpected("expected a value")
        raise self._unexpected(f"expected a valid value ({_VALUE})")

    def _literal(self) -> str:
        found = _WORD.match(self._text, self._at)
        word = b"" if found is None else found[0]
        if word in _LITERALS:
            self._at += len(word)
            return _LITERALS[word]
        if word in _NOT_STANDARD:
            raise _Malformed(
                f"Non-standard token '{word.decode()}': enable "
                "`JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS` to allow",
                self._at + len(word),
            )
        token = self._peek().decode("latin-1")  # Jackson takes the first byte for a character
        self._at += 1
        while self._at < len(self._text):
            character = self._character()
            if not _is_word(character):
                break
            token += character
            if len(token) == TOKEN_SHOWN_MAX:
                token += "..."
                break
        raise _Malformed(f"Unrecognized token '{token}': was expecting ({_VALUE})", self._at)

    def _number(self) -> str:
        found = _NUMBER.match(self._text, self._at)
        if found is None:
            self._at += 1
            raise self._not_a_number(
                "expected digit (0-9) to follow minus sign, for valid numeric value"
            )
        self._at = found.end()
        after = self._text[self._at : self._at + 1]
        if found[0] in (b"0", b"-0") and after.isdigit():
            raise _Malformed("Invalid numeric value: Leading zeroes not allowed", self._at + 1)
        if after == b".":
            if self._at + 1 < len(self._text):
                self._at += 1
            raise self._not_a_number("Decimal point not followed by a digit")
        if after in (b"e", b"E"):
            self._at += 1
            raise self._not_a_number("Exponent indicator not followed by a digit")
        if not self._open and after and after not in _SPACE:
            raise self._unexpected("Expected space separating root-level values")
        is_whole = found[0].lstrip(b"-").isdigit()
        return "VALUE_NUMBER_INT" if is_whole else "VALUE_NUMBER_FLOAT"

    def _string(self, kind: str, eof: str) -> None:
        self._at += 1
        while True:
            self._step()
            found = _PLAIN.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            stop = self._peek(eof)
            if stop == b'"':
                self._at += 1
                return
            if stop == b"\\":
                self._escape()
            elif stop < b" ":
                raise _Malformed(
                    f"Illegal unquoted character {_shown(stop, True)}: has to be escaped "
                    f"using backslash to be included in {kind}",
                    self._at + 1,
                )
            else:
                self._character()

    def _escape(self) -> None:
        self._at += 1
        code = self._peek(" in character escape sequence")
        if code in _ESCAPED:
            self._at += 1
        elif code != b"u":
            raise _Malformed(f"Unrecognized character escape {_shown(code)}", self._at + 1)
        else:
            for _ in range(4):
                self._at += 1
                if self._peek(" in character escape sequence") not in _HEX:
                    raise self._unexpected("expected a hex-digit for character escape sequence")
            self._at += 1

    def _character(self) -> str:
        """The next character, of one to four bytes. Raises _Malformed if it is no UTF-8."""
        first = self._text[self._at]
        length = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        if 0x80 <= first < 0xC2 or first > 0xF4:
            raise _Malformed(f"Invalid UTF-8 start byte {first:#x}", self._at + 1)
        piece = self._text[self._at : self._at + length]
        try:
            character = piece.decode()
        except UnicodeDecodeError as error:
            bad = min(max(error.end, 1), len(piece) - 1)
            raise _Malformed(
                f"Invalid UTF-8 middle byte {piece[bad]:#x}", self._at + bad + 1
            ) from error
        self._at += length
        return character

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _TooLong

    def _skip_space(self, eof: Callable[[], str] | None) -> None:
        """To the next token. `eof` says what is wrong if there is none; None: nothing."""
        spaces = _SPACES.match(self._text, self._at)
        assert spaces is not None
        self._at = spaces.end()
        if self._at < len(self._text):
            found = self._text[self._at : self._at + 1]
            if found < b" ":
                raise _Malformed(
                    f"Illegal character {_shown(found, True)}: only regular white space "
                    "(\\r, \\n, \\t) is allowed between tokens",
                    self._at + 1,
                )
            if found == b"/":
                raise self._unexpected(_COMMENT)
        elif eof is not None:
            self._peek(eof())

    def _peek(self, eof: str = "") -> bytes:
        """The next byte. Raises _Malformed at the end of the text."""
        if self._at < len(self._text):
            return self._text[self._at : self._at + 1]
        if self._open or eof:
            raise _Malformed(f"Unexpected end-of-input{eof}", self._at)
        raise _Malformed("No content to map due to end-of-input", self._at)

    def _unexpected(self, expectation: str) -> _Malformed:
        """A character that cannot stand here."""
        found = self._peek()
        return _Malformed(
            f"Unexpected character {_shown(found, True)}: {expectation}", self._at + 1
        )

    def _not_a_number(self, expectation: str) -> _Malformed:
        found = self._peek(" in numeric value")
        return _Malformed(
            f"Unexpected character {_shown(found, True)} in numeric value: {expectation}",
            self._at + 1,
        )


def _shown(found: bytes, in_brackets: bool = False) -> str:
    code = found[0]
    shown = f"'{chr(code)}' (code {code})"
    if code < 0x20 or 0x7F <= code < 0xA0:
        shown = f"(CTRL-CHAR, code {code})"
    return f"({shown})" if in_brackets else shown


def _is_word(character: str) -> bool:
    """Whether Java lets it be part of a name."""
    return character.isalnum() or character in "_$"
