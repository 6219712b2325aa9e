from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from hearth.logs import records, segments
from hearth.logs.records import Frame
from hearth.logs.segments import OPEN_FILES_MAX, GroupFiles, OpenGroups, SegmentLimits
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region
from hearth.model.logs import LogGroup, stream_name

ACCOUNT, REGION = AccountId("000000000000"), Region("us-east-1")
GROUP = LogGroup.of_function(FunctionKey(ACCOUNT, REGION, FunctionName("hello")))
LIMITS = SegmentLimits(segment_bytes_max=1_000, group_bytes_max=4_000)


def ticking() -> Callable[[], int]:
    return count(1_767_225_600_000).__next__


def frames(*lines: bytes) -> list[bytes]:
    return [c for line in lines for c in records.encode(Frame(1, 1, "s", (line,)))]


def files(root: Path) -> GroupFiles:
    return GroupFiles(root, GROUP, LIMITS, ticking())


def lines_on_disk(directory: Path) -> list[bytes]:
    return [
        line
        for _, path in segments.segments(directory)
        for _, frame, _ in records.decode(path.read_bytes())
        for line in frame.lines
    ]


def test_the_directory_of_a_function_can_be_read_by_a_person(tmp_path: Path) -> None:
    files(tmp_path).append(frames(b"one"))
    assert (tmp_path / "000000000000/us-east-1/+aws+lambda+hello/group.json").exists()


def test_no_name_leads_out_of_the_directory_or_into_anothers(tmp_path: Path) -> None:
    names = ["..", ".", "../x", "a/b", "a_b", "a.b", "x" * 512, "x" * 511 + "y", "/", "//"]
    paths = [segments.directory_of(tmp_path, LogGroup(ACCOUNT, REGION, name)) for name in names]
    assert len(set(paths)) == len(names)
    assert all(path.resolve().parent == tmp_path / ACCOUNT / REGION for path in paths)
    assert all(len(path.name) <= 255 for path in paths)


@pytest.mark.parametrize("name", ["", "a+b", "a b", "a\n", "é", "x" * 513])
def test_a_name_that_aws_does_not_take_is_no_group(name: str) -> None:
    with pytest.raises(ValueError, match="not a log group"):
        LogGroup(ACCOUNT, REGION, name)


def test_a_region_from_a_caller_cannot_be_a_path() -> None:
    with pytest.raises(ValueError, match="not a log group"):
        LogGroup(ACCOUNT, Region("../.."), "/aws/lambda/hello")


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    group = files(tmp_path)
    lines = [b"%03d" % n + b"x" * 200 for n in range(10)]
    group.append(frames(*lines))
    found = segments.segments(group.directory)
    assert len(found) > 2
    assert all(path.stat().st_size <= LIMITS.segment_bytes_max for _, path in found)
    assert lines_on_disk(group.directory) == lines


def test_the_oldest_segments_go_when_the_group_is_large(tmp_path: Path) -> None:
    group = files(tmp_path)
    for n in range(200):
        group.append(frames(b"%03d" % n + b"x" * 100))
        size = sum(path.stat().st_size for _, path in segments.segments(group.directory))
        assert size <= LIMITS.group_bytes_max
    left = lines_on_disk(group.directory)
    assert left[-1].startswith(b"199")
    assert [int(line[:3]) for line in left] == list(range(200 - len(left), 200))
    assert len(left) > 15


def test_a_frame_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    group = GroupFiles(tmp_path, GROUP, SegmentLimits(segment_bytes_max=1_000), ticking())
    group.append(frames(b"small", b"x" * 3_000, b"small"))
    assert [len(line) for line in lines_on_disk(group.directory)] == [5, 3_000, 5]


def test_the_next_run_goes_on_in_the_same_segment(tmp_path: Path) -> None:
    for line in (b"one", b"two"):
        group = files(tmp_path)
        group.append(frames(line))
        group.close()
    assert lines_on_disk(group.directory) == [b"one", b"two"]
    assert len(segments.segments(group.directory)) == 1


def test_nothing_is_written_behind_a_frame_that_a_crash_cut(tmp_path: Path) -> None:
    group = files(tmp_path)
    group.append(frames(b"one", b"two"))
    group.close()
    [(_, torn)] = segments.segments(group.directory)
    torn.write_bytes(torn.read_bytes()[:-1])
    files(tmp_path).append(frames(b"three"))
    assert lines_on_disk(group.directory) == [b"one", b"three"]


def test_a_group_that_is_made_again_has_greater_numbers(tmp_path: Path) -> None:
    now = ticking()
    group = GroupFiles(tmp_path, GROUP, LIMITS, now)
    group.append(frames(b"one"))
    [(before, _)] = segments.segments(group.directory)
    group.delete()
    assert segments.groups(tmp_path) == []
    group.append(frames(b"two"))
    [(after, _)] = segments.segments(group.directory)
    assert after > before
    assert lines_on_disk(group.directory) == [b"two"]


def test_the_disks_refusal_is_the_callers_to_count_and_leaves_a_log_to_go_on_with(
    tmp_path: Path,
) -> None:
    group = files(tmp_path)
    group.append(frames(b"one"))
    group.close()
    [(_, path)] = segments.segments(group.directory)
    path.rename(path.with_suffix(".away"))
    path.mkdir()  # opening it for writing fails, for root too
    with pytest.raises(OSError, match="directory"):
        group.append(frames(b"two"))
    path.rmdir()
    path.with_suffix(".away").rename(path)
    group.append(frames(b"three"))
    assert lines_on_disk(group.directory) == [b"one", b"three"]


def test_all_groups_are_found_again_by_name(tmp_path: Path) -> None:
    names = ["/aws/lambda/b", "/aws/lambda/a", "x" * 512]
    for name in names:
        group = LogGroup(ACCOUNT, REGION, name)
        GroupFiles(tmp_path, group, LIMITS, ticking()).append(frames(b"one"))
    assert [group.name for group in segments.groups(tmp_path)] == sorted(names)


def test_only_so_many_files_are_open_and_all_groups_can_still_be_written(tmp_path: Path) -> None:
    groups = OpenGroups(tmp_path, LIMITS, ticking())
    names = [LogGroup(ACCOUNT, REGION, f"g{n}") for n in range(OPEN_FILES_MAX + 5)]

    def open_files() -> int:
        here = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(str(path).startswith(str(tmp_path)) for path in here)

    for _ in range(2):
        for name in names:
            groups.files(name).append(frames(b"line"))
    assert open_files() == OPEN_FILES_MAX
    groups.close()
    assert open_files() == 0
    for name in names:
        assert lines_on_disk(segments.directory_of(tmp_path, name)) == [b"line", b"line"]


def test_a_stream_is_named_as_lambda_names_it() -> None:
    day = datetime(2026, 11, 3, tzinfo=UTC)
    assert stream_name(day, "$LATEST", "0" * 32) == f"2026/11/03/[$LATEST]{'0' * 32}"
