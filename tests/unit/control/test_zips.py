"""What may be uploaded, and what unpacking makes of it."""

import io
import os
import stat
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.packages import DIRECTORY, FILE, LINK, PROGRAM, zip_entries, zip_of
from hearth.base.archives import (
    ENTRIES_MAX,
    ArchiveTooLarge,
    BadArchive,
    EntryKind,
    open_archive,
    unpack,
)
from hearth.control.zips import BROKEN, EMPTY, check_zip
from hearth.model.errors import InvalidParameterValue, RequestEntityTooLarge

BYTES_MAX = 1_000_000


def unpack_into(directory: Path, package: bytes, bytes_max: int = BYTES_MAX) -> None:
    with open_archive(io.BytesIO(package)) as archive:
        unpack(archive, directory, bytes_max)


def refusal(package: bytes) -> str:
    with pytest.raises(InvalidParameterValue) as refused:
        check_zip(package)
    return refused.value.message


def test_an_ordinary_package_is_taken() -> None:
    check_zip(zip_of({"app.py": "x", "lib/a.py": "y", "./dot.py": "z"}))


def test_nothing_and_a_zip_of_nothing_are_empty() -> None:
    assert refusal(b"") == EMPTY
    assert refusal(zip_of({})) == EMPTY
    assert refusal(zip_entries(("only/", DIRECTORY, ""))) == EMPTY


def test_more_than_fifty_megabytes_are_refused_unread() -> None:
    with pytest.raises(RequestEntityTooLarge):
        check_zip(bytes(52_428_801))


@pytest.mark.parametrize(
    "package",
    [
        b"PK",
        b"PK\x05\x06" + bytes(17),
        zip_of()[:-30],
        zip_of()[:40],
        zip_of()[30:],
    ],
)
def test_what_is_no_zip_cannot_be_unzipped(package: bytes) -> None:
    assert refusal(package) == BROKEN


def test_damaged_content_is_found() -> None:
    package = bytearray(zip_entries(("a", FILE, os.urandom(1_000))))
    package[200] ^= 0xFF
    assert refusal(bytes(package)) == BROKEN


def test_a_bomb_is_judged_by_what_comes_out() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        for number in range(5):
            with package.open(f"zeros{number}", "w") as content:
                for _ in range(53):
                    content.write(bytes(1_000_000))
    assert len(buffer.getvalue()) < 1_000_000
    assert refusal(buffer.getvalue()) == "Unzipped size must be smaller than 262144000 bytes"


def test_a_header_that_lies_about_the_size_is_found() -> None:
    package = bytearray(zip_entries(("zeros", FILE, bytes(100_000))))
    central = package.rindex(b"PK\x01\x02")
    package[central + 24 : central + 28] = (10).to_bytes(4, "little")  # uncompressed size
    assert refusal(bytes(package)) == BROKEN


def test_the_size_limit_is_exact(tmp_path: Path) -> None:
    package = zip_of({"a": b"x" * 60, "b": b"y" * 40})
    unpack_into(tmp_path, package, bytes_max=100)
    assert (tmp_path / "b").read_bytes() == b"y" * 40
    with pytest.raises(ArchiveTooLarge), tempfile.TemporaryDirectory() as other:
        unpack_into(Path(other), package, bytes_max=99)


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([("/etc/passwd", FILE, "x")], id="absolute"),
        pytest.param([("../x", FILE, "x")], id="up"),
        pytest.param([("a/../../x", FILE, "x")], id="up, later"),
        pytest.param([("a/..", DIRECTORY, "")], id="up and back"),
        pytest.param([("a", FILE, "1"), ("a", FILE, "2")], id="twice"),
        pytest.param([("a", FILE, "1"), ("./a", FILE, "2")], id="twice, by another name"),
        pytest.param([("a", FILE, "1"), ("a/", DIRECTORY, "")], id="file and directory"),
        pytest.param([("a", FILE, "1"), ("a/b", FILE, "2")], id="below a file"),
        pytest.param([("a/b", FILE, "2"), ("a", FILE, "1")], id="below a file, first"),
        pytest.param([("l", LINK, "d"), ("d/", DIRECTORY, ""), ("l/b", FILE, "")], id="via a link"),
        pytest.param([("l", LINK, "/etc")], id="absolute link"),
        pytest.param([("l", LINK, "..")], id="link up"),
        pytest.param([("d/l", LINK, "../../x")], id="link up, deeper"),
        pytest.param([("l1", LINK, "."), ("l2", LINK, "l1/..")], id="link over a link"),
        pytest.param(
            [("a/b/c", FILE, ""), ("l", LINK, "a/b"), ("m", LINK, "l/../../..")],
            id="up from a link",
        ),
        pytest.param([("l", LINK, "l")], id="endless link"),
        pytest.param([("l", LINK, "m"), ("m", LINK, "l")], id="endless links"),
        pytest.param([("l", LINK, "")], id="link to nothing"),
        pytest.param([("l", LINK, "x" * 5_000)], id="link too long"),
        pytest.param([("l", LINK, b"\xff\xfe")], id="link that is no text"),
        pytest.param([("d", stat.S_IFCHR | 0o666, "")], id="character device"),
        pytest.param([("d", stat.S_IFBLK | 0o666, "")], id="block device"),
        pytest.param([("p", stat.S_IFIFO | 0o666, "")], id="pipe"),
        pytest.param([("s", stat.S_IFSOCK | 0o666, "")], id="socket"),
        pytest.param([("x" * 256, FILE, "")], id="name too long"),
        pytest.param([("d/" * 256 + "x", FILE, "")], id="too deep"),
        pytest.param([("/".join(["x" * 200] * 21), FILE, "")], id="path too long"),
    ],
)
def test_what_is_not_safe_to_unpack_is_refused(
    entries: list[tuple[str, int, str | bytes]], tmp_path: Path
) -> None:
    package = zip_entries(*entries)
    assert refusal(package) == BROKEN
    with pytest.raises(BadArchive):
        unpack_into(tmp_path, package)
    assert list(tmp_path.iterdir()) == []


def test_links_that_would_take_hours_to_follow_are_refused() -> None:
    """Each is a few bytes of the zip, and a thousand directories long; each leads over others."""
    target = "/".join(["d"] * 500) + "/.." * 500
    links = [(f"l{n}", LINK, f"{target}/l{n - 1}" if n % 40 else target) for n in range(200)]
    with pytest.raises(BadArchive, match="too long to follow"):
        unpack_into(Path("/nowhere"), zip_entries(*links))


def test_many_links_of_an_ordinary_package_are_taken() -> None:
    files = [(f"node_modules/{n}/cli.js", FILE, "x") for n in range(3_000)]
    links = [(f"node_modules/.bin/{n}", LINK, f"../{n}/cli.js") for n in range(3_000)]
    with open_archive(io.BytesIO(zip_entries(*files, *links))) as archive:
        assert len(archive.entries) == 6_000


def test_an_archive_that_implies_too_many_directories_is_refused() -> None:
    """Two hundred bytes each, and a directory of a disk's block for every two of them."""
    below = "/".join(["d"] * 250)
    entries = [(f"{n}/{below}/x", FILE, "") for n in range(ENTRIES_MAX // 250 + 1)]
    with pytest.raises(BadArchive, match=f"more than {ENTRIES_MAX} directories"):
        unpack_into(Path("/nowhere"), zip_entries(*entries))


def test_encrypted_entries_are_refused() -> None:
    package = bytearray(zip_of({"a": "x"}))
    for header, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        package[package.index(header) + offset] |= 0x1
    assert refusal(bytes(package)) == BROKEN


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_inflate_without_bounds_are_refused(method: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as package:
        package.writestr("a", "x")
    assert refusal(buffer.getvalue()) == BROKEN


def test_a_name_of_no_characters_is_refused() -> None:
    assert refusal(zip_entries(("", FILE, "x"))) == BROKEN


def test_a_name_with_a_nul_is_refused() -> None:
    package = zip_of({"ab.py": "x"}).replace(b"ab.py", b"a\0.py")
    assert refusal(package) == BROKEN


def test_modes_links_and_times_are_kept_or_made_equal(tmp_path: Path) -> None:
    package = zip_entries(
        ("bootstrap", PROGRAM, "#!"),
        ("lib/data", FILE, "d"),
        ("lib/current", LINK, "data"),
        ("lib/up", LINK, "../bootstrap"),
        ("lib/dangling", LINK, "nowhere"),
        ("empty/", stat.S_IFDIR | 0o700, ""),
        ("secret", stat.S_IFREG | 0o600, "s"),
        ("setuid", stat.S_IFREG | 0o6755, "s"),
    )
    check_zip(package)
    unpack_into(tmp_path, package)
    modes = {
        str(path.relative_to(tmp_path)): stat.S_IMODE(path.lstat().st_mode)
        for path in tmp_path.rglob("*")
        if not path.is_symlink()
    }
    assert modes == {
        "bootstrap": 0o755,
        "lib": 0o755,
        "lib/data": 0o644,
        "empty": 0o755,
        "secret": 0o644,
        "setuid": 0o755,
    }
    assert (tmp_path / "lib/current").read_text() == "d"
    assert (tmp_path / "lib/up").readlink() == Path("../bootstrap")
    assert {path.lstat().st_mtime for path in tmp_path.rglob("*")} == {315_532_800.0}


NAMES = st.lists(st.sampled_from(["a", "b", "c", ".", "..", ""]), min_size=1, max_size=4).map(
    "/".join
)
ENTRIES = st.lists(
    st.tuples(NAMES, st.sampled_from([FILE, LINK, DIRECTORY, PROGRAM]), NAMES),
    min_size=1,
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(ENTRIES)
def test_whatever_is_unpacked_stays_in_its_tree(entries: list[tuple[str, int, str]]) -> None:
    """The model: the kernel. Whatever it resolves from inside must be inside."""
    package = zip_entries(*((name or "x", mode, text) for name, mode, text in entries))
    with tempfile.TemporaryDirectory() as outer:
        tree = Path(outer).resolve() / "tree"
        tree.mkdir()
        try:
            unpack_into(tree, package)
        except BadArchive:
            assert list(tree.iterdir()) == []
            return
        assert [path.name for path in Path(outer).iterdir()] == ["tree"]
        with open_archive(io.BytesIO(package)) as archive:
            expected = {entry.path: entry for entry in archive.entries}
        for path, entry in expected.items():
            assert (tree / path).resolve().is_relative_to(tree)
            if entry.kind is EntryKind.FILE:
                assert (tree / path).is_file()
                assert not (tree / path).is_symlink()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_damage_makes_it_fail_otherwise_than_by_refusing(data: st.DataObject) -> None:
    package = bytearray(
        zip_entries(
            ("app.py", FILE, b"print(1)\n" * 30), ("l", LINK, "app.py"), ("d/", DIRECTORY, "")
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        package[data.draw(st.integers(0, len(package) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 20))
    try:
        check_zip(bytes(package[: len(package) - cut]))
    except InvalidParameterValue as refused:
        text = refused.message
    else:
        text = ""
    assert text in {BROKEN, EMPTY, ""}
