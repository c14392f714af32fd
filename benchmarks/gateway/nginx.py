"""nginx in front of the origin, in three configurations."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.gateway.processes import NotToBeHad, running
from kalpi_local.net import free_port

__all__ = ["BARE", "CACHING", "DEFAULTS", "nginx"]

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

BARE = """
  access_log off;
  keepalive_requests 1000000000;
  upstream origin { server 127.0.0.1:%(origin)d; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:%(port)d;
    location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
"""
"""Upstream keep-alive, no log."""

DEFAULTS = """
  access_log %(folder)s/access.log;
  server {
    listen 127.0.0.1:%(port)d;
    location / { proxy_pass http://127.0.0.1:%(origin)d; }
  }
"""
"""Nothing said that need not be said: a connection to the origin for each request, and the log."""

CACHING = """
  access_log off;
  keepalive_requests 1000000000;
  proxy_cache_path %(folder)s/kept keys_zone=kept:10m;
  server {
    listen 127.0.0.1:%(port)d;
    location / { proxy_pass http://127.0.0.1:%(origin)d; proxy_cache kept; proxy_cache_valid 200 1h; }
  }
"""

_AROUND = """
daemon off;
%(user)s
worker_processes 1;
pid %(folder)s/nginx.pid;
error_log %(folder)s/error.log warn;
events { worker_connections 4096; }
http {
  client_body_temp_path %(folder)s/temp-body;
  proxy_temp_path %(folder)s/temp-proxy;
  fastcgi_temp_path %(folder)s/temp-fastcgi;
  uwsgi_temp_path %(folder)s/temp-uwsgi;
  scgi_temp_path %(folder)s/temp-scgi;
%(rest)s
}
"""


@contextmanager
def nginx(http: str, origin: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Port and pid of one worker with this configuration, in a folder of its own in `folder`; NotToBeHad."""
    if NGINX is None:
        raise NotToBeHad("nginx is not installed")
    own = Path(tempfile.mkdtemp(prefix="nginx-", dir=folder))
    port = free_port()
    told = {"port": port, "origin": origin, "folder": own}
    # a worker of another user could not reach the folder
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = own / "nginx.conf"
    configuration.write_text(_AROUND % {"user": user, "folder": own, "rest": http % told})
    command = [NGINX, "-e", str(own / "error.log"), "-c", str(configuration), "-p", str(own)]
    with running(command, f"http://127.0.0.1:{port}/", own / "nginx.log") as pid:
        yield port, pid
