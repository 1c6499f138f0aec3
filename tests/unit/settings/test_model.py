from __future__ import annotations

import msgspec
import pytest

from aiogateway.settings.model import DEADLINES, ProxySettings, Settings
from aiogateway.types import Deadlines, Secret


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]


def test_every_deadline_is_documented() -> None:
    assert list(DEADLINES) == [field.name for field in msgspec.structs.fields(Deadlines)]


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ((), "api.example", False),
        (("*",), "api.example", True),
        (("api.example",), "API.example", True),
        (("example",), "api.example", True),
        ((".example",), "api.example", True),
        (("*.example",), "api.example", True),
        (("ample",), "api.example", False),
        (("other",), "api.example", False),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.1/8",), "10.1.2.3", True),
        (("10.0.0.0/8",), "11.1.2.3", False),
        (("::1",), "[::1]", True),
        ((".",), "api.example", False),
    ],
)
def test_no_proxy_names_hosts_with_their_subdomains_and_networks(
    no_proxy: tuple[str, ...], host: str, direct: bool
) -> None:
    proxy = ProxySettings(https=Secret("http://proxy:3128"), no_proxy=no_proxy)
    assert proxy.url_for(host) == (None if direct else "http://proxy:3128")


def test_no_proxy_means_none() -> None:
    assert ProxySettings().url_for("api.example") is None
