"""Behind a real reverse proxy, under a path, with the prefix taken away and with it left."""

from __future__ import annotations

import gzip
import http.client
import re
import shutil
import socket
import subprocess
import time

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
pytestmark = pytest.mark.skipif(
    NGINX is None, reason="nginx is not installed: `apt-get install nginx-light` to test behind a real proxy"
)

CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 10m;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; {host}
    location /user/anna/stripped/ {{ proxy_pass http://127.0.0.1:{behind}/; }}
    location /user/anna/left/ {{ proxy_pass http://127.0.0.1:{behind}; }}
  }}
}}
"""


@pytest.fixture(params=["named by the outside", "named by the inside"])
def proxy(request, serve, tmp_path):
    """A server, and the port of an nginx before it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = serve(base_url="/user/anna/left/", allowed=[f"hub.example.org:{port}"])
    # a proxy that passes the outside's name on, and one that does not
    host = "proxy_set_header Host $http_host;" if "outside" in request.param else ""
    folder = tmp_path / "nginx"
    folder.mkdir()
    text = CONFIGURATION.format(folder=folder, port=port, behind=server.port, host=host)
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen([NGINX, "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 10
    while True:
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert time.monotonic() < end, (folder / "error.log").read_text()
        time.sleep(0.05)
    yield server, port
    process.terminate()
    process.wait(10)


def fetch(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Host": f"hub.example.org:{port}", **headers})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@pytest.mark.parametrize("prefix", ["/user/anna/stripped/", "/user/anna/left/"])
def test_page_tiles_and_websocket_work_under_the_path(proxy, prefix, project):
    server, port = proxy
    answer, body = fetch(port, prefix + f"?token={server.access.token}")
    assert answer.status == 200, body
    assert b'url=./"' in body  # relative: stays under the path
    cookie = answer.headers["set-cookie"]
    assert "path=" not in cookie.lower()  # the browser takes the path that it sees
    cookies = "; ".join(c.split(";")[0] for c in answer.headers.get_all("set-cookie"))
    assert fetch(port, prefix + "api/project")[0].status == 403
    assert fetch(port, prefix + "api/project", Cookie=cookies)[0].status == 200
    answer, body = fetch(port, prefix, Cookie=cookies)
    assert not re.search(rb'(src|href)="/', body)  # nothing on the page leaves the path

    page = server.page()
    outside = f"hub.example.org:{port}"
    page.headers = {"Cookie": cookies, "Origin": f"http://{outside}"}
    page.connect(prefix + "ws", port=port, host=outside)
    page.open(project.find("first").id)
    assert page.disc(page.next_id, 100, 100, 20)["type"] == "ack"
    answer, body = fetch(port, prefix + f"api/images/{page.image}/labels/0/0/0/0", Cookie=cookies)
    assert answer.headers["content-encoding"] == "gzip"
    assert (np.frombuffer(gzip.decompress(body), "<u4") == page.next_id).any()
    with pytest.raises(InvalidStatus):
        server.page().connect(prefix + "ws", port=port, host=outside, Origin="http://evil.example")
