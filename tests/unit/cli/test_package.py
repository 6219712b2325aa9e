import io
import os
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from hearth.cli.main import cli
from hearth.cli.output import Failure
from hearth.cli.package import missing_handler, zip_directory


def entries(content: bytes) -> dict[str, tuple[int, bytes]]:
    """name: (mode, content)"""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {
            entry.filename: (entry.external_attr >> 16, archive.read(entry))
            for entry in archive.infolist()
        }


def write(path: Path, text: str = "x", mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


@pytest.mark.parametrize(
    ("runtime", "handler", "missing"),
    [
        ("python3.11", "app.handler", None),
        ("python3.11", "pkg.handler", None),
        ("python3.11", "pkg.deep.handler", None),
        ("python3.11", "pkg/deep.handler", None),
        ("python3.11", "fast.handler", None),
        ("python3.11", "main.handler", "main.py"),
        ("python3.11", "pkg.main.handler", "pkg/main.py"),
        ("python3.11", "handler", None),
        ("nodejs22.x", "index.handler", None),
        ("nodejs22.x", "src/index.a.b", None),
        ("nodejs22.x", "app.handler", "app.js"),
        ("ruby3.4", "main.handler", None),
        (None, "main.handler", None),
        ("python3.11", None, None),
    ],
)
def test_a_handler_whose_file_is_missing_is_noticed(
    tmp_path: Path, runtime: str | None, handler: str | None, missing: str | None
) -> None:
    files = ("app.py", "pkg/__init__.py", "pkg/deep.py", "fast.cpython-311-x86_64-linux-gnu.so")
    for name in (*files, "index.mjs", "src/index.js"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert missing_handler(zip_directory(tmp_path), runtime, handler) == missing


def test_a_directory_that_no_function_can_be_called_after_is_told(tmp_path: Path) -> None:
    for name in ("fn \u00f6", "a:b", "my.app", "n" * 65):
        directory = tmp_path / name
        directory.mkdir()
        told = CliRunner().invoke(cli, ["deploy", str(directory), "--state", str(tmp_path / "s")])
        assert told.exit_code == 1
        assert "cannot be a function's name" in told.stderr
        assert "--name" in told.stderr


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    for name, order in (("one", ("b.py", "a.py", "c/d.py")), ("two", ("c/d.py", "a.py", "b.py"))):
        for place, file in enumerate(order):
            write(tmp_path / name / file, file, mode=0o600 if name == "one" else 0o664)
            os.utime(tmp_path / name / file, (1_000_000_000 + place, 1_000_000_000 + place))
    packed = zip_directory(tmp_path / "one")
    assert packed == zip_directory(tmp_path / "two")
    assert list(entries(packed)) == ["a.py", "b.py", "c/d.py"]


def test_what_can_be_run_here_can_be_run_there(tmp_path: Path) -> None:
    write(tmp_path / "bootstrap", "#!/bin/sh", mode=0o700)
    write(tmp_path / "data", mode=0o600)
    found = entries(zip_directory(tmp_path))
    assert found["bootstrap"] == (0o100755, b"#!/bin/sh")
    assert found["data"][0] == 0o100644


def test_what_is_no_part_of_the_function_is_left_out(tmp_path: Path) -> None:
    for name in ("app.py", ".git/config", "x/__pycache__/y.pyc", ".venv/bin/python", "x/.hidden"):
        write(tmp_path / name)
    os.mkfifo(tmp_path / "pipe")
    assert list(entries(zip_directory(tmp_path))) == ["app.py", "x/.hidden"]


def test_a_link_inside_stays_a_link(tmp_path: Path) -> None:
    write(tmp_path / "lib" / "one.py")
    (tmp_path / "two.py").symlink_to("lib/one.py")
    (tmp_path / "more").symlink_to("lib")
    found = entries(zip_directory(tmp_path))
    assert found["two.py"] == (0o120755, b"lib/one.py")
    assert found["more"] == (0o120755, b"lib")


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "lib/../../outside"])
def test_a_link_that_leads_out_is_refused_by_name(tmp_path: Path, target: str) -> None:
    write(tmp_path / "outside")
    write(tmp_path / "function" / "lib" / "one.py")
    (tmp_path / "function" / "link").symlink_to(target)
    with pytest.raises(Failure, match="link is a link out of"):
        zip_directory(tmp_path / "function")


def test_an_empty_directory_is_no_function(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="holds no files"):
        zip_directory(tmp_path)


def test_more_than_lambda_takes_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    with (tmp_path / "model.bin").open("wb") as file:
        file.truncate(262_144_001)
    with pytest.raises(Failure, match="250 MB, the most that Lambda takes unzipped"):
        zip_directory(tmp_path)
