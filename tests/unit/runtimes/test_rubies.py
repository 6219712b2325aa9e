"""Which Ruby runs a function, and what it finds there."""

from pathlib import Path

import pytest

from hearth.runtimes import rubies
from hearth.runtimes.rubies import Ruby
from hearth.runtimes.survey import RUBY, survey


def ruby_at(home: Path, version: str) -> Path:
    """A program that says of itself what a Ruby says."""
    (home / "bin").mkdir(parents=True)
    program = home / "bin/ruby"
    library = home / "lib/ruby/3.3.0"
    lines = (version, program, home, library, library / "x86_64-linux")
    words = " ".join(f"'{line}'" for line in lines)
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' {words}\n")
    program.chmod(0o755)
    return program


def test_a_ruby_is_asked_what_it_is(tmp_path: Path) -> None:
    program = ruby_at(tmp_path / "own", "3.3.6")
    libraries = ("lib/ruby/3.3.0", "lib/ruby/3.3.0/x86_64-linux")
    ruby = Ruby((3, 3, 6), program, tmp_path / "own", libraries)
    assert rubies.ask(program) == ruby
    assert ruby.name == "ruby3.3"


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho 3.3.6\n", "nothing"])
def test_what_does_not_answer_is_no_ruby(tmp_path: Path, text: str) -> None:
    program = ruby_at(tmp_path, "3.3.6")
    program.write_text(text)
    assert rubies.ask(program) is None


def test_version_managers_are_searched_for_exactly_that_version(tmp_path: Path) -> None:
    ruby_at(tmp_path / ".rbenv/versions/9.8.1", "9.8.1")
    newer = ruby_at(tmp_path / ".rbenv/versions/9.8.2", "9.8.2")
    found = rubies.find("ruby9.8", [], tmp_path)
    assert found is not None
    assert found.executable == newer
    assert rubies.find("ruby9.9", [], tmp_path) is None


def test_a_moved_ruby_is_told_where_its_library_is() -> None:
    moved = Ruby((3, 3, 6), Path("/home/me/r/bin/ruby"), Path("/home/me/r"), ("lib/ruby/3.3.0",))
    assert rubies.variables(moved)["RUBYLIB"].endswith(":{lang}/lib/ruby/3.3.0")
    system = Ruby((3, 3, 6), Path("/usr/bin/ruby3.3"), Path("/usr"), ("lib/ruby/3.3.0",))
    told = rubies.variables(system)
    assert told["RUBYLIB"] == "{task}:{runtime}/lib:{opt}/ruby/lib"
    assert told["GEM_PATH"].startswith("{task}/vendor/bundle/ruby/3.3.0:{opt}/ruby/gems/3.3.0:")


def test_a_kit_is_the_bootstrap(tmp_path: Path) -> None:
    kit = rubies.build(tmp_path / "cache")
    assert (kit / "bootstrap.rb").read_bytes() == rubies.BOOTSTRAP.read_bytes()
    assert rubies.build(tmp_path / "cache") == kit


def test_each_runtime_is_in_the_survey(tmp_path: Path) -> None:
    known = {status.name: status for status in survey(tmp_path / "cache", [], tmp_path)}
    assert all(known[name].is_supported for name in RUBY)
    assert not known["dotnet8"].is_supported
