"""Which Ruby does this machine have, and where? And what does its function find in /var/runtime?

A function of `ruby3.3` runs under Ruby 3.3 and no other. Looked for, in this order: the system's
(`/usr/bin`, `/usr/local/bin`), those on the PATH, and those that version managers (rbenv, RVM,
chruby, asdf, mise) keep. AWS publishes its client as a gem only; ours keeps its contract, and
needs nothing but Ruby (bootstraps/ruby_bootstrap.rb).
"""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.runtimes.interpreters import unique
from hearth.runtimes.kit import BOOTSTRAPS, KitFailed

BOOTSTRAP: Final = BOOTSTRAPS / "ruby_bootstrap.rb"
ASK_TIMEOUT_S: Final = 20
_ASK: Final = (
    "puts RUBY_VERSION, RbConfig.ruby,"
    " RbConfig::CONFIG.values_at('prefix', 'rubylibdir', 'rubyarchdir')"
)
_MANAGERS: Final = (
    ".rbenv/versions/{number}.*/bin/ruby",
    ".rvm/rubies/ruby-{number}.*/bin/ruby",
    ".rubies/ruby-{number}.*/bin/ruby",
    ".asdf/installs/ruby/{number}.*/bin/ruby",
    ".local/share/mise/installs/ruby/{number}.*/bin/ruby",
)


@dataclass(frozen=True, slots=True)
class Ruby:
    """A Ruby on this machine."""

    version: tuple[int, ...]
    executable: Path
    prefix: Path
    libraries: tuple[str, ...] = ()
    """Of its own library, relative to `prefix`; a Ruby that was moved does not find it itself."""

    @property
    def name(self) -> str:
        """`ruby3.3`, as the runtime is called."""
        return f"ruby{self.version[0]}.{self.version[1]}"

    @property
    def is_system(self) -> bool:
        """Below /usr, which every sandbox sees at the same place."""
        return self.prefix.is_relative_to("/usr")


def find(name: str, search_path: Sequence[str], home: Path) -> Ruby | None:
    """The best Ruby of that runtime, or None. Runs the candidates: not for the event loop."""
    for path in unique(candidates(name, search_path, home)):
        ruby = ask(path)
        if ruby is not None and ruby.name == name:
            return ruby
    return None


def candidates(name: str, search_path: Sequence[str], home: Path) -> list[Path]:
    """Where a Ruby of that runtime may be, best first."""
    found = [
        Path(folder, ruby) for folder in ("/usr/bin", "/usr/local/bin") for ruby in (name, "ruby")
    ]
    found += [Path(folder, "ruby") for folder in search_path if "shims" not in folder]
    for pattern in _MANAGERS:
        found += sorted(home.glob(pattern.format(number=name.removeprefix("ruby"))), reverse=True)
    return found


def ask(path: Path) -> Ruby | None:
    """What the program says of itself; None if it is no Ruby that runs."""
    try:
        answer = subprocess.run(  # noqa: S603
            [path, "--disable-gems", "-rrbconfig", "-e", _ASK],
            capture_output=True,
            text=True,
            timeout=ASK_TIMEOUT_S,
            check=True,
            env={},
        )
        version, executable, prefix, *libraries = answer.stdout.splitlines()
        numbers = tuple(int(part) for part in version.split(".")[:3])
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    inside = [Path(folder) for folder in libraries]
    return Ruby(
        numbers,
        Path(executable),
        Path(prefix),
        tuple(str(one.relative_to(prefix)) for one in inside if one.is_relative_to(prefix)),
    )


def variables(ruby: Ruby) -> dict[str, str]:
    """Where gems and libraries are, in the package, in layers, and in a Ruby that was moved."""
    api = f"{ruby.version[0]}.{ruby.version[1]}.0"
    own = () if ruby.is_system else ruby.libraries
    libraries = ("{task}", "{runtime}/lib", "{opt}/ruby/lib", *(f"{{lang}}/{one}" for one in own))
    return {
        "GEM_HOME": "{runtime}",
        "GEM_PATH": f"{{task}}/vendor/bundle/ruby/{api}:{{opt}}/ruby/gems/{api}:{{runtime}}",
        "RUBYLIB": ":".join(libraries),
    }


def kit_directory(cache: Path) -> Path:
    digest = hashlib.sha256(BOOTSTRAP.read_bytes()).hexdigest()
    return cache / f"ruby-{digest[:8]}"


def build(cache: Path) -> Path:
    """The kit, built if it is not there. Raises KitFailed."""
    directory = kit_directory(cache)
    if directory.is_dir():
        return directory
    cache.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=cache))
    try:
        shutil.copyfile(BOOTSTRAP, draft / "bootstrap.rb")
        draft.chmod(0o755)
        with suppress(FileExistsError):  # built by another process meanwhile
            draft.rename(directory)
    except OSError as error:
        if not directory.is_dir():
            raise KitFailed(f"ruby: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return directory
