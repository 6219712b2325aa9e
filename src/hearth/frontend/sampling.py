"""Is this invoke traced, and what does its function see of that? Pure but for two sources of ids.

The caller's word counts, where there is one: `Sampled=1` or `Sampled=0`. Where there is none,

    TracingConfig Active     of each function the first request of a second, and 5 % of the others
    --otlp                   what OTEL_TRACES_SAMPLER says, for functions of either mode

and one yes is enough. What is sampled gets a span of its own, which is the Parent that the function
sees: what it tells of itself hangs below. The 5 % follow from the trace's id, so that all attempts
of one event are judged alike.
https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html
"""

from collections.abc import Callable
from typing import Final, Protocol

from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey
from hearth.model.traces import ROOT_ALONE, parse

REST_RATE: Final = 0.05
FUNCTIONS_REMEMBERED: Final = 10_000
_TOP: Final = 1 << 32


class Sampler(Protocol):
    def samples(self, trace: str, parent: bool | None) -> bool:
        """`parent` is the caller's decision, None where there is none."""
        ...


class Sampling:
    """Decides for every invoke of this process."""

    def __init__(
        self,
        now_s: Callable[[], float],
        new_span: Callable[[], str],
        sampler: Sampler | None = None,
    ) -> None:
        self._now_s = now_s
        self._new_span = new_span
        self._sampler = sampler
        self._seconds: dict[FunctionKey, int] = {}
        self.decides_all = sampler is not None
        """Else only for functions whose tracing is Active."""

    def decide(self, header: str, function: FunctionVersion) -> tuple[str, str | None]:
        """The header that the function's run goes on with, and its span's id; `header` itself and
        None if the invoke is not sampled here."""
        given = parse(header)
        if given is None:
            return header, None
        sampled = self._sampler is not None and self._sampler.samples(given.trace, given.sampled)
        if not sampled and function.is_traced:
            sampled = given.sampled or (
                given.sampled is None and self._takes(function.key, given.trace)
            )
        if not sampled:
            return header, None
        span = self._new_span()
        return given.sampled_as(span), span

    def _takes(self, key: FunctionKey, trace: str) -> bool:
        second = int(self._now_s())
        if self._seconds.get(key) != second:
            if len(self._seconds) >= FUNCTIONS_REMEMBERED:
                self._seconds.clear()
            self._seconds[key] = second
            return True
        return int(trace[-8:], 16) < REST_RATE * _TOP


def completed(header: str, request: str) -> str:
    """With what a function finds in each header: a parent, and a decision. `request` is the
    invoke's id, of which the parent is made where there is none."""
    if len(header) == ROOT_ALONE and header.startswith("Root="):  # who has no trace yet: most
        return f"{header};Parent={request[19:23]}{request[24:]};Sampled=0"
    if "Sampled=" in header or "Root=" not in header:
        return header
    if "Parent=" not in header:
        header = f"{header};Parent={request[19:23]}{request[24:]}"
    return f"{header};Sampled=0"
