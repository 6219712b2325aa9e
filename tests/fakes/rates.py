"""A scaling rate that allows so many starts, and remembers what it was asked."""

from hearth.model.errors import ServiceError, TooManyRequests


class AnyRate:
    """Allows `left` starts; without a number, all."""

    def __init__(self, left: int | None = None) -> None:
        self.left = left
        self.refused = 0

    def allow_start(self, now_s: float) -> ServiceError | None:
        if self.left is None:
            return None
        if self.left > 0:
            self.left -= 1
            return None
        self.refused += 1
        return TooManyRequests("FunctionInvocationRateLimitExceeded")

    def refund_start(self) -> None:
        if self.left is not None:
            self.left += 1
