"""What of many events does a live tail show? And how does a stream of events fail?"""

from botocore.eventstream import EventStreamBuffer

from hearth.api.operations.log_tail import sample
from hearth.api.protocols.event_stream import exception_message


def test_few_are_shown_whole_and_many_are_sampled_from_all_over() -> None:
    assert sample([1, 2, 3], 3) == [1, 2, 3]
    assert sample(list(range(1_000)), 500) == list(range(0, 1_000, 2))
    assert len(sample(list(range(501)), 500)) == 500


def test_an_exception_ends_a_stream_as_botocore_reads_it() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(exception_message("SessionTimeoutException", b'{"message": "x"}'))
    (event,) = list(buffer)
    headers: object = event.headers
    assert headers == {
        ":message-type": "exception",
        ":exception-type": "SessionTimeoutException",
        ":content-type": "application/json",
    }
    assert event.payload == b'{"message": "x"}'
