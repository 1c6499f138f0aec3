"""Who is measured. A new contestant is one more small class in CONTESTANTS."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from load_tests.processes import Crew, raise_file_limit

PATH = "/v1/chat/completions"
KEY = {"Authorization": "Bearer sk-load"}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a contestant stands: its port, the upstream it has in front of it, its scratch folder and its core."""

    port: int
    upstream_port: int
    tls: bool
    ca_file: Path
    folder: Path
    core: int

    @property
    def upstream(self) -> str:
        """Scheme and authority of the upstream."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.upstream_port}"


class Contestant(Protocol):
    """One way from the load generator to the upstream."""

    name: str

    def missing(self) -> str | None:
        """Why it can't run on this machine, or None."""

    def start(self, crew: Crew, site: Site) -> subprocess.Popen[str] | None:
        """Start its process (with whatever children it has); None if it needs none."""

    def url(self, site: Site) -> str:
        """Where the load generator sends its requests."""

    def headers(self, site: Site) -> dict[str, str]:
        """What it needs besides `content-type` and `content-length`."""


class Direct:
    """No proxy: the floor of every latency."""

    name = "direct"

    def missing(self) -> str | None:
        return None

    def start(self, crew: Crew, site: Site) -> subprocess.Popen[str] | None:
        return None

    def url(self, site: Site) -> str:
        return site.upstream + PATH

    def headers(self, site: Site) -> dict[str, str]:
        return KEY


class Nginx:
    """The yardstick: one worker, unbuffered, keep-alive to the upstream, and TLS 1.3 there."""

    name = "nginx"

    def missing(self) -> str | None:
        return None if self._program() else "not installed"

    def start(self, crew: Crew, site: Site) -> subprocess.Popen[str] | None:
        program = self._program()
        assert program is not None
        configuration = site.folder / "nginx.conf"
        configuration.write_text(write_nginx_conf(site, min(raise_file_limit(), 65536)))
        command = [program, "-p", str(site.folder), "-c", str(configuration), "-e", "stderr"]
        return crew.start(command, site.core, site.folder)

    def url(self, site: Site) -> str:
        return f"http://127.0.0.1:{site.port}{PATH}"

    def headers(self, site: Site) -> dict[str, str]:
        return KEY

    def _program(self) -> str | None:
        return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


class Aiogateway:
    """`aiogateway serve` as anyone starts it; the target of each call is in its headers."""

    name = "aiogateway"

    def missing(self) -> str | None:
        return None if importlib.util.find_spec("aiogateway.__main__") else "`python -m aiogateway` does not exist"

    def start(self, crew: Crew, site: Site) -> subprocess.Popen[str] | None:
        command = [sys.executable, "-m", "aiogateway", "serve", "--host", "127.0.0.1", "--port", str(site.port)]
        command += ["--log-level", "warning", "--data-dir", str(site.folder)]
        environment = {"AIOGATEWAY_PLUGINS": ""}  # an installed plugin that watches calls is not what is measured
        if site.tls:
            environment["SSL_CERT_FILE"] = str(site.ca_file)
        return crew.start(command, site.core, site.folder, environment)

    def url(self, site: Site) -> str:
        return f"http://127.0.0.1:{site.port}{PATH}"

    def headers(self, site: Site) -> dict[str, str]:
        return KEY | {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{site.upstream}/v1"}


CONTESTANTS: tuple[Contestant, ...] = (Direct(), Nginx(), Aiogateway())


def write_nginx_conf(site: Site, files: int) -> str:
    """nginx's configuration for `site`; `files` limits its open files and connections."""
    # nginx 1.22 offers TLS 1.3 to upstreams only if told.
    tls = f"""
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate {site.ca_file};
      proxy_ssl_server_name on;
      proxy_ssl_name localhost;"""
    return f"""
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
error_log stderr crit;
pid {site.folder}/nginx.pid;
events {{ worker_connections {files // 2}; }}
http {{
  access_log off;
  client_body_temp_path {site.folder}/body;
  proxy_temp_path {site.folder}/proxy;
  fastcgi_temp_path {site.folder}/fastcgi;
  uwsgi_temp_path {site.folder}/uwsgi;
  scgi_temp_path {site.folder}/scgi;
  tcp_nodelay on;
  keepalive_requests 100000000;
  upstream mock {{
    server 127.0.0.1:{site.upstream_port};
    keepalive 1024;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{site.port} backlog=4096;
    location / {{
      proxy_pass {"https" if site.tls else "http"}://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 300s;{tls if site.tls else ""}
    }}
  }}
}}
"""
