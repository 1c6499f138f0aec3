"""How contestants are set up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from load_tests.contestants import CONTESTANTS, Aiogateway, Direct, Site, write_nginx_conf

SITE = Site(port=1001, upstream_port=1002, tls=False, ca_file=Path("ca.pem"), folder=Path("scratch"), core=0)


def test_names_are_unique() -> None:
    assert [contestant.name for contestant in CONTESTANTS] == ["direct", "nginx", "aiogateway"]


@pytest.mark.parametrize(("tls", "scheme"), [(False, "http"), (True, "https")])
def test_everyone_ends_at_the_same_upstream(tls: bool, scheme: str) -> None:
    site = replace(SITE, tls=tls)
    configuration = write_nginx_conf(site, 4096)
    assert f"proxy_pass {scheme}://mock;" in configuration
    assert "server 127.0.0.1:1002;" in configuration
    assert ("proxy_ssl_verify on" in configuration) == tls
    assert Aiogateway().headers(site)["x-portkey-custom-host"] == f"{scheme}://127.0.0.1:1002/v1"
    assert Direct().url(site) == f"{scheme}://127.0.0.1:1002/v1/chat/completions"


def test_nginx_is_unbuffered_with_one_worker_and_keep_alive() -> None:
    configuration = write_nginx_conf(SITE, 4096)
    for line in ("proxy_buffering off;", "worker_processes 1;", "proxy_http_version 1.1;", "keepalive 1024;"):
        assert line in configuration
