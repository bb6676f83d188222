"""How much the tests draw: `pytest` a little, `pytest --nightly` a lot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import Servers

pytest_plugins = ["pytester"]

# The same examples each time, so that a change is judged by what it changes; the night looks for new ones.
settings.register_profile("default", deadline=None, max_examples=100, derandomize=True)
settings.register_profile(
    "nightly", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nightly", action="store_true", help="draw many more examples in every property test")


def pytest_configure(config: pytest.Config) -> None:
    # Before any test module is imported: `@settings` fills what it does not name from the profile in force then.
    settings.load_profile("nightly" if config.getoption("--nightly") else "default")


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The real servers of this process, each started when first asked for."""
    own = Servers()
    yield own
    own.stop()
