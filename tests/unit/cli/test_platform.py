import hearth.app
from hearth.cli.platform import Platform


def test_the_app_is_the_platform_that_the_commands_expect() -> None:
    platform: Platform = hearth.app  # mypy compares the signatures
    assert callable(platform.run)
    assert callable(platform.diagnose)
