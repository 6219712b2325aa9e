import re
import subprocess
import sys
import warnings

import pytest

from hearth.api.java import hash_order, lower_camel, string_hash
from hearth.api.patterns import TEXT_LENGTH_MAX, _compile, matches
from hearth.api.shapes import UnknownService, load_service
from hearth.api.special_constraints import RUNTIMES


def test_a_service_that_nobody_models_is_named() -> None:
    with pytest.raises(UnknownService, match="'lambada'"):
        load_service("lambada")


def test_a_recursive_shape_contains_itself() -> None:
    shape = load_service("logs").shape("ResourceConfig")
    assert shape is load_service("logs").shape("ResourceConfig")


def test_models_are_read_without_importing_botocore() -> None:
    program = (
        "import sys; from hearth.api.shapes import load_service; load_service('lambda');"
        "sys.exit('botocore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_hash_is_javas() -> None:
    assert string_hash("") == 0
    assert string_hash("hello") == 99162322
    assert string_hash("polygenelubricants") == 2**31


def test_the_recorded_runtimes_are_in_the_order_of_a_hash_set() -> None:
    recorded = RUNTIMES.split(", ")
    in_model_order = list(load_service("lambda").shape("Runtime").enum)
    assert hash_order(n for n in in_model_order if n in recorded) == recorded


@pytest.mark.parametrize(
    "recorded",
    [
        ["Terminate", "Allow"],
        ["x86_64", "arm64"],
        ["de", "pt", "en", "it", "fr", "es"],
        ["compatibleRuntimes", "compatibleArchitectures"],
        ["writeCapacityUnits", "readCapacityUnits"],
        ["aWSAccountId", "label", "actionName"],
    ],
)
def test_other_recorded_sets_and_errors_are_in_that_order(recorded: list[str]) -> None:
    assert hash_order(reversed(recorded)) == recorded


def test_only_the_first_letter_of_a_member_is_lowered() -> None:
    assert [lower_camel(n) for n in ("KMSKeyArn", "UUID", "")] == ["kMSKeyArn", "uUID", ""]


@pytest.mark.parametrize("service", ["lambda", "sts", "stepfunctions", "logs", "elbv2"])
def test_every_pattern_of_a_model_can_be_checked(service: str) -> None:
    model = load_service(service)
    patterns = {model.shape(name).pattern for name in model._raw.shapes} - {None}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unusable = [p for p in patterns if p is not None and _compile(p) is None]
    assert unusable == []


@pytest.mark.parametrize(
    ("pattern", "text", "is_match"),
    [
        (r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*", "Grüße 世界_1", True),
        (r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*", "a#b", False),
        (r"\p{ASCII}*", "plain", True),
        (r"\p{ASCII}*", "größer", False),
        (r"[\w-_]*", "a-b_c", True),
        (r"a|b", "ab", False),
        (r"[0-9]+", "12\n", False),
    ],
)
def test_javas_patterns_match_whole_texts(pattern: str, text: str, is_match: bool) -> None:
    assert matches(pattern, text) is is_match


def test_a_pattern_that_cannot_be_read_refuses_nothing() -> None:
    with pytest.raises(re.error):
        re.compile("(?<unclosed")
    assert matches("(?<unclosed", "anything")


def test_a_text_too_long_to_search_matches_no_pattern() -> None:
    assert not matches(".*", "x" * (TEXT_LENGTH_MAX + 1))


THREADS = """
import threading
from hearth.api.shapes import load_service
names = ("sts", "lambda", "logs", "sqs")
start = threading.Barrier(len(names))
def read(name):
    start.wait()
    load_service(name)
threads = [threading.Thread(target=read, args=[name]) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_the_first_models_may_be_read_by_several_threads_at_once() -> None:
    """It crashed the interpreter, in one start of four on a busy machine."""
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
