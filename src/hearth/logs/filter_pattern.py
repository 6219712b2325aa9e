"""Which log events does a filter pattern match? CloudWatch's filter language, without I/O.

    ERROR -"not found"              all of these words, and none of those
    ?ERROR ?WARN                    any of them
    %4[0-9]{2}%                     a regular expression
    { $.level = "E*" && $.ms > 9 }  JSON
    [ip, user, ..., status = 4*]    words between spaces; "..." and [...] are one

`compiled` answers a predicate over an event's text. It takes time in proportion to that text,
whatever the pattern is.
Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from hearth.logs.filter_values import Value, compare, is_number, wildcard
from hearth.logs.json_path import MISSING, Path, Text, as_json
from hearth.logs.safe_regex import SafeRegex

Matches = Callable[[str], bool]
Condition = Callable[[Any], bool]

PATTERN_LENGTH_MAX: Final = 1024
CACHED_MAX: Final = 64
DEPTH_MAX: Final = 32

_TERM = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|%((?:[^%\\]|\\.)+)%|([^\s"%]+))')
_WORD = re.compile(r"[\w]+")
_FIELD = re.compile(r'"([^"]*)"|\[([^\]]*)\]|(\S+)')
_FIELD_UNCLOSED = re.compile(r'"([^"]*)"|(\S+)')


class InvalidPattern(ValueError):
    """Its text is what the caller may read."""


@lru_cache(maxsize=CACHED_MAX)
def compiled(pattern: str) -> Matches:
    """Raises InvalidPattern."""
    text = pattern.strip()
    if len(text) > PATTERN_LENGTH_MAX:
        raise InvalidPattern("Filter pattern is too long.")
    if text.startswith("{"):
        return _json(text)
    if text.startswith("["):
        return _fields(text)
    return _terms(text)


# -- words -------------------------------------------------------------------------------------


def _terms(text: str) -> Matches:
    needed: list[Matches] = []
    optional: list[Matches] = []
    excluded: list[Matches] = []
    at = 0
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None:
            raise InvalidPattern(f"Invalid filter pattern: {text}")
        sign, quoted, expression, word = found.groups()
        place = {"": needed, "?": optional, "-": excluded}[sign]
        place.append(_term(quoted, expression, word))
        at = found.end()
        if text[at : at + 1].strip():
            raise InvalidPattern(f"Invalid filter pattern: {text}")

    def matches(message: str) -> bool:
        if any(term(message) for term in excluded):
            return False
        if needed:
            return all(term(message) for term in needed)
        return not optional or any(term(message) for term in optional)

    return matches


def _term(quoted: str | None, expression: str | None, word: str | None) -> Matches:
    if expression is not None:
        return _regex(expression)
    if quoted is not None:
        wanted = re.sub(r"\\(.)", r"\1", quoted)
    else:
        assert word is not None
        if _WORD.fullmatch(word) is None:
            raise InvalidPattern(f"Invalid character(s) in term '{word}'")
        wanted = word
    return lambda message: wanted in message


def _regex(expression: str) -> Matches:
    try:
        return SafeRegex(expression).is_in
    except ValueError as error:
        raise InvalidPattern(str(error)) from error


# -- JSON and fields: one grammar of conditions --------------------------------------------------

_TOKENS = re.compile(
    r"\s*(?:(?P<op>&&|\|\||>=|<=|!=|[=<>(){}\[\],])"
    r'|"(?P<string>(?:[^"\\]|\\.)*)"'
    r"|%(?P<regex>(?:[^%\\]|\\.)+)%"
    r'|(?P<word>(?:\$(?:\.[\w-]+|\["[^"]*"\]|\[\d+\]|\.\["[^"]*"\])+|[^\s"%&|=<>!(){}\[\],]+)))'
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while text[at:].strip():
        token = _TOKENS.match(text, at)
        if token is None or token.lastgroup is None:
            raise InvalidPattern(f"Invalid filter pattern: {text}")
        found.append(_Token(token.lastgroup, token[token.lastgroup]))
        at = token.end()
    return found


class _Parser:
    """Recursive descent; `subject` makes of a word what a condition is about."""

    def __init__(self, text: str, subject: Callable[[str], Callable[[Any], Any]]) -> None:
        self._text = text
        self._subject = subject
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def take(self, text: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == _Token("op", text):
            self._at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise self.invalid()

    def end(self) -> None:
        if self._at != len(self._tokens):
            raise self.invalid()

    def invalid(self) -> InvalidPattern:
        return InvalidPattern(f"Invalid filter pattern: {self._text}")

    def next(self) -> _Token:
        if self._at >= len(self._tokens):
            raise self.invalid()
        self._at += 1
        return self._tokens[self._at - 1]

    def peek_op(self, *texts: str) -> bool:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        return token is not None and token.kind == "op" and token.text in texts

    def either(self) -> Condition:
        parts = [self.both()]
        while self.take("||"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else lambda event: any(part(event) for part in parts)

    def both(self) -> Condition:
        parts = [self.one()]
        while self.take("&&"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else lambda event: all(part(event) for part in parts)

    def one(self) -> Condition:
        if not self.take("("):
            return self.comparison()
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self.invalid()
        inner = self.either()
        self.expect(")")
        self._depth -= 1
        return inner

    def comparison(self) -> Condition:
        name = self.next()
        if name.kind != "word":
            raise self.invalid()
        return self.compared(self._subject(name.text))

    def compared(self, of: Callable[[Any], Any]) -> Condition:
        operator = self.next()
        if operator.kind == "word":
            return self.state(of, operator.text.upper())
        if operator.text not in {"=", "!=", "<", ">", "<=", ">="}:
            raise self.invalid()
        value = self.value(self.next())
        if operator.text not in {"=", "!="} and not isinstance(value, float):
            raise self.invalid()
        return lambda event: compare(of(event), operator.text, value)

    def state(self, of: Callable[[Any], Any], word: str) -> Condition:
        what = self.next().text.upper()
        if (word, what) == ("NOT", "EXISTS"):
            return lambda event: of(event) is MISSING
        values: dict[str, object] = {"TRUE": True, "FALSE": False, "NULL": None}
        if word != "IS" or what not in values:
            raise self.invalid()
        wanted = values[what]
        return lambda event: of(event) is wanted

    def value(self, token: _Token) -> Value:
        if token.kind == "regex":
            return _regex(token.text)
        if token.kind == "string":
            return wildcard(re.sub(r"\\(.)", r"\1", token.text))
        if token.kind != "word":
            raise self.invalid()
        return float(token.text) if is_number(token.text) else wildcard(token.text)


def _json(text: str) -> Matches:
    def subject(word: str) -> Callable[[Any], Any]:
        if not word.startswith("$"):
            raise InvalidPattern(f"Invalid filter pattern: {text}")
        return Path(word).of

    parser = _Parser(text, subject)
    parser.expect("{")
    condition = parser.either()
    parser.expect("}")
    parser.end()

    def matches(message: str) -> bool:
        event = as_json(message)
        return event is not MISSING and condition(event)

    return matches


# -- words between spaces ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    condition: Condition | None


def _fields(text: str) -> Matches:
    if not text.endswith("]"):
        raise InvalidPattern(f"Invalid filter pattern: {text}")
    parts = [part.strip() for part in text[1:-1].split(",")]
    fields = [_field(part, text) for part in parts]
    rest = [index for index, field in enumerate(fields) if field.name == "..."]
    if len(rest) > 1 or not all(parts):
        raise InvalidPattern(f"Invalid filter pattern: {text}")

    def matches(message: str) -> bool:
        words = _words(message)
        if rest:
            head, tail = fields[: rest[0]], fields[rest[0] + 1 :]
            if len(words) < len(head) + len(tail):
                return False
            words = words[: len(head)] + words[len(words) - len(tail) :]
            wanted = head + tail
        else:
            wanted = fields
        if len(words) != len(wanted):
            return False
        pairs = zip(wanted, words, strict=True)
        return all(f.condition is None or f.condition(Text(word)) for f, word in pairs)

    return matches


def _words(message: str) -> list[str]:
    """A bracket that nobody closes is a part of a word. Where that is so is looked up once: each
    of many would be followed to the end."""
    last = message.rfind("]")
    closed = last + 1 if message.find("[", last + 1) >= 0 else len(message)
    found: list[str] = []
    at = 0
    while at < len(message):
        word = (_FIELD if at < closed else _FIELD_UNCLOSED).search(message, at)
        if word is None:
            break
        found.append("".join(part for part in word.groups() if part))
        at = word.end()
    return found


def _field(part: str, text: str) -> _Field:
    name = re.match(r"\.\.\.|[\w-]+", part)
    if name is None:
        raise InvalidPattern(f"Invalid filter pattern: {text}")
    if name.end() == len(part):
        return _Field(name[0], None)

    def subject(word: str) -> Callable[[Any], Any]:
        if word != name[0]:
            raise InvalidPattern(f"Invalid filter pattern: {text}")
        return lambda event: event

    parser = _Parser(part, subject)
    condition = parser.either()
    parser.end()
    return _Field(name[0], condition)
