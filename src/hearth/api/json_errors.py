"""What is wrong with this JSON? Said as Jackson, AWS's parser, says it.

A request that is no JSON is told why, with line and column, in the words that AWS's callers know:

    Unrecognized token 'hello': was expecting (JSON String, Number, Array, Object or token 'null',
    'true' or 'false')
     at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, …]

Runs only after a fast check has failed. Texts are recorded from AWS where a comment in `_Scanner`
does not say otherwise; columns are Jackson's: one past what was read, counted in bytes.
"""

import re
from typing import Final

SOURCE: Final = "REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled)"
DEPTH_MAX: Final = 1_000
"""Jackson's own bound for nesting."""

TOKEN_SHOWN_MAX: Final = 256
_SPACE: Final = b" \t\r\n"
_DIGITS: Final = b"0123456789"
_WORD = re.compile(rb"[A-Za-z0-9_$]+")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f\x80-\xff]*')
_ESCAPE = re.compile(rb'\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_VALUE: Final = "JSON String, Number, Array, Object or token 'null', 'true' or 'false'"
_LITERALS: Final = (b"true", b"false", b"null")


def describe(text: bytes) -> str | None:
    """Jackson's message with its location, or None if nothing is wrong."""
    try:
        _Scanner(text).document()
    except _Malformed as error:
        before = text[: error.position]
        line = before.count(b"\n") + 1
        column = error.position - (before.rfind(b"\n") + 1) + 1
        return f"{error}\n at [Source: {SOURCE}; line: {line}, column: {column}]"
    return None


class _Malformed(Exception):
    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class _Scanner:
    """Walks one document. The open containers are a stack, so that depth costs no recursion."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0
        self._open: list[bytes] = []

    def document(self) -> None:
        self._value()
        while self._open:
            self._after_value()
        self._skip_space()
        if self._at < len(self._text):
            if self._text[self._at : self._at + 1] in b'{["-0123456789tfn':
                # Jackson reads one value; what follows is refused when it is asked for more.
                raise _Malformed("Trailing token found after value", self._at + 1)
            raise self._unexpected("Expected space separating root-level values")

    def _value(self) -> None:
        """One scalar, or the opening of a container together with its first value."""
        while True:
            self._skip_space()
            start = self._peek()
            if start == b"{":
                self._enter(b"}")
                if self._skip_space_and_take(b"}"):
                    self._open.pop()
                    return
                self._name()
            elif start == b"[":
                self._enter(b"]")
                if self._skip_space_and_take(b"]"):
                    self._open.pop()
                    return
            else:
                self._scalar(start)
                return

    def _after_value(self) -> None:
        """A comma and the next value, or the end of the innermost container."""
        self._skip_space()
        closing = self._open[-1]
        found = self._peek()
        if found == closing:
            self._open.pop()
            self._at += 1
        elif found == b",":
            self._at += 1
            if closing == b"}":
                self._skip_space()
                self._name()
            self._value()
        else:
            kind = "Object entries" if closing == b"}" else "Array entries"
            raise self._unexpected(f"was expecting comma to separate {kind}")

    def _enter(self, closing: bytes) -> None:
        if len(self._open) == DEPTH_MAX:
            raise _Malformed(
                f"Document nesting depth ({DEPTH_MAX + 1}) exceeds the maximum allowed "
                f"({DEPTH_MAX}, from `StreamReadConstraints.getMaxNestingDepth()`)",
                self._at + 1,
            )
        self._open.append(closing)
        self._at += 1

    def _name(self) -> None:
        if self._peek() != b'"':
            raise self._unexpected("was expecting double-quote to start field name")
        self._string()
        self._skip_space()
        if self._peek() != b":":
            raise self._unexpected("was expecting a colon to separate field name and value")
        self._at += 1

    def _scalar(self, start: bytes) -> None:
        if start == b'"':
            self._string()
        elif start == b"-" or start in _DIGITS:
            self._number()
        elif _is_word(start.decode("latin-1")):
            self._literal()
        else:
            raise self._unexpected(f"expected a valid value ({_VALUE})")

    def _literal(self) -> None:
        found = _WORD.match(self._text, self._at)
        if found is not None and found[0] in _LITERALS:
            self._at = found.end()
            return
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

    def _number(self) -> None:
        found = _NUMBER.match(self._text, self._at)
        if found is None:
            self._at += 1
            raise self._unexpected(
                "expected digit (0-9) to follow minus sign, for valid numeric value",
                where=" in numeric value",
            )
        self._at = found.end()
        after = self._text[self._at : self._at + 1]
        if found[0] in (b"0", b"-0") and after.isdigit():
            raise _Malformed("Invalid numeric value: Leading zeroes not allowed", self._at + 1)
        if after in (b".", b"e", b"E"):
            what = "Decimal point" if after == b"." else "Exponent indicator"
            self._at += 1
            raise self._unexpected(f"{what} not followed by a digit", where=" in numeric value")

    def _string(self) -> None:
        self._at += 1
        while True:
            found = _PLAIN.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            stop = self._peek(" in VALUE_STRING")
            if stop == b'"':
                self._at += 1
                return
            if stop == b"\\":
                self._escape()
            elif stop < b" ":
                raise _Malformed(
                    f"Illegal unquoted character ((CTRL-CHAR, code {stop[0]})): has to be escaped "
                    "using backslash to be included in string value",
                    self._at + 1,
                )
            else:
                self._character()

    def _escape(self) -> None:
        found = _ESCAPE.match(self._text, self._at)
        if found is None:
            self._at += 1
            code = self._peek(" in character escape sequence")
            raise _Malformed(f"Unrecognized character escape {_shown(code)}", self._at + 1)
        self._at = found.end()

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

    def _skip_space(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in _SPACE:
            self._at += 1

    def _skip_space_and_take(self, wanted: bytes) -> bool:
        self._skip_space()
        found = self._text[self._at : self._at + 1] == wanted
        self._at += found
        return found

    def _peek(self, where: str = "") -> bytes:
        """The next byte. Raises _Malformed at the end of the text."""
        if self._at < len(self._text):
            return self._text[self._at : self._at + 1]
        if self._open or where:
            raise _Malformed(f"Unexpected end-of-input{where}", self._at)
        raise _Malformed("No content to map due to end-of-input", self._at)

    def _unexpected(self, expectation: str, where: str = "") -> _Malformed:
        """A character that cannot stand here."""
        found = self._peek(where)
        return _Malformed(
            f"Unexpected character ({_shown(found)}){where}: {expectation}", self._at + 1
        )


def _shown(found: bytes) -> str:
    code = found[0]
    if code < 0x20 or 0x7F <= code < 0xA0:
        return f"(CTRL-CHAR, code {code})"
    return f"'{chr(code)}' (code {code})"


def _is_word(character: str) -> bool:
    """Whether Java lets it be part of a name."""
    return character.isalnum() or character in "_$"
