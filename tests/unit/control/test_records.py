"""Records: what is written can be read, now and by later versions."""

import json
from dataclasses import fields, replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.control import function_key
from hearth.control.records import (
    UnreadableRecord,
    decode,
    decode_function,
    encode,
    encode_function,
    entry_key,
    place_at,
    version_entry_key,
)
from hearth.model.durable import DurableConfig
from hearth.model.functions import (
    Alias,
    Architecture,
    Code,
    Function,
    FunctionVersion,
    State,
    UpdateStatus,
)
from hearth.model.layers import LayerUse

FUNCTION = FunctionVersion(
    key=function_key("my-Function_1"),
    runtime="python3.12",
    handler="app.handler",
    role="arn:aws:iam::123456789012:role/r",
    code=Code(sha256="a" * 64, size_bytes=7),
    description="dé",
    timeout_s=9,
    memory_mb=256,
    tmp_mb=513,
    architecture=Architecture.ARM64,
    environment={"A": "1"},
    environment_given=True,
    tags={"t": "v"},
    is_traced=True,
    snap_start=True,
    per_tenant=True,
    durable=DurableConfig(timeout_s=60, retention_days=3),
    layers=(LayerUse(arn="a:1", sha256="b" * 64, size_bytes=3, unzipped_bytes=4),),
    dead_letter_arn="arn:aws:sqs:eu-central-1:123456789012:q",
    state=State.FAILED,
    state_reason="r",
    state_reason_code="c",
    update_status=UpdateStatus.FAILED,
    update_reason="u",
    update_reason_code="d",
    last_modified="2026-11-23T15:04:05.000+0000",
    revision_id="r1",
    touch=("configured", "r1"),
    instance_id="i1",
)
# As the first version wrote it; never to be edited.
FIRST = (
    b'{"format":1,"account":"123456789012","region":"eu-central-1","name":"f","version":"$LATEST",'
    b'"runtime":"python3.12","handler":"app.handler","role":"r","sha256":"ab","size_bytes":7,'
    b'"state":"Active","update_status":"Successful","last_modified":"m","revision_id":"r",'
    b'"instance_id":"i"}'
)
DECODED_FIRST = decode(FIRST)


def test_every_member_survives() -> None:
    assert decode(encode(FUNCTION)) == FUNCTION
    defaults = {f.name for f in fields(FUNCTION) if getattr(FUNCTION, f.name) == f.default}
    # The initialisation and the tenant are of an environment, never stored.
    assert defaults == {"version", "initialization", "tenant", "is_debugged"}, (
        "give the new member a value here that is not its default"
    )


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_any_text_survives(text: str, variables: dict[str, str]) -> None:
    function = replace(FUNCTION, description=text, environment=variables, tags=variables)
    assert decode(encode(function)) == function


def _changed(function: FunctionVersion, names: set[str]) -> FunctionVersion:
    """Another function, in these members."""
    other: dict[str, object] = {f.name: getattr(DECODED_FIRST, f.name) for f in fields(function)}
    return replace(function, **{name: other[name] for name in names})  # type: ignore[arg-type]


@given(
    st.sets(st.sampled_from(sorted(f.name for f in fields(FUNCTION)))),
    st.sets(st.sampled_from(sorted(f.name for f in fields(FUNCTION)))),
)
def test_it_is_read_alike_whatever_it_is_compared_with(
    in_these: set[str], like_in_those: set[str]
) -> None:
    function, like = _changed(FUNCTION, in_these), _changed(FUNCTION, like_in_those)
    assert decode(encode(function), like) == function
    whole = Function(latest=function, serving=like)
    assert decode_function(encode_function(whole), like) == whole


def test_what_two_versions_have_in_common_is_there_once() -> None:
    first = decode(encode(FUNCTION))
    second = decode(encode(replace(FUNCTION, version="2", environment={"A": "2"})), first)
    for name in ("key", "code", "runtime", "handler", "role", "tags", "layers", "instance_id"):
        assert getattr(second, name) is getattr(first, name), name
    assert second.environment == {"A": "2"}


def test_the_first_format_is_readable() -> None:
    assert decode(FIRST).key == function_key("f")
    assert decode(FIRST).memory_mb == 128


def test_members_that_nobody_knows_are_left_out() -> None:
    record = msgspec.json.decode(FIRST) | {"later": {"x": 1}}
    assert decode(json.dumps(record).encode()) == decode(FIRST)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"{}",
        FIRST.replace(b'"format":1', b'"format":2'),
        FIRST.replace(b'"format":1', b'"format":0'),
        FIRST.replace(b'"format":1', b'"format":"1"'),
        FIRST.replace(b"Active", b"Sleeping"),
        FIRST.replace(b'"sha256":"ab",', b""),
    ],
)
def test_what_is_no_record_of_ours_is_refused(value: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        decode(value)


def test_a_key_has_one_token_for_each_part() -> None:
    entry = entry_key(FUNCTION.key)
    assert entry == "fn.123456789012.eu-central-1.my-Function_1"
    assert place_at(entry) == (FUNCTION.key, None)
    assert place_at("fn.a.b") is place_at("alias.a.b.c") is None


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", ">", "a\n", "é", "$LATEST"])
def test_a_name_that_is_no_token_has_no_key(name: str) -> None:
    assert entry_key(function_key(name)) is None


PUBLISHED = Function(
    latest=FUNCTION,
    serving=replace(FUNCTION, revision_id="earlier"),
    last_number=12,
    last_description="d",
    versions={"3": "a1", "12": "b2"},
    aliases={
        "live": Alias(
            key=FUNCTION.key,
            name="live",
            version="3",
            description="é",
            weights={"12": 0.1},
            revision_id="r",
        )
    },
    write_id="w",
)


def test_every_member_of_what_was_published_survives() -> None:
    assert decode_function(encode_function(PUBLISHED)) == PUBLISHED
    assert decode(encode_function(PUBLISHED)) == FUNCTION
    plain = {f.name for f in fields(PUBLISHED) if getattr(PUBLISHED, f.name) == f.default}
    assert plain == set(), "give the new member a value here that is not its default"


def test_a_function_of_the_first_format_has_published_nothing() -> None:
    assert decode_function(FIRST) == Function(latest=decode(FIRST))


def test_a_version_has_a_key_below_its_function() -> None:
    entry = version_entry_key(FUNCTION.key, "a1-b2")
    assert entry == "fn.123456789012.eu-central-1.my-Function_1.ver.a1-b2"
    assert place_at(entry) == (FUNCTION.key, "a1-b2")
    assert place_at("fn.a.b.c.doc.e") is place_at("fn.a.b.c.ver.e.f") is None
