"Pictures from the web: an exchange ends, is small, and does not lead into private networks."
import gzip
import io
import os
import socket
import subprocess
import sys
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from PIL import Image
from servers import serving

from imgcap.fetch import _is_public, _unfolded
from imgcap.pictures import (ImageError, decode_image, fetch_picture, inspect_picture,
                             picture_digest, without_password)

file = io.BytesIO()
Image.new("RGB", (30, 20), "red").save(file, "PNG")
PNG = file.getvalue()
PROXIES = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("IMGCAP_PRIVATE_ADDRESSES", raising=False)


@pytest.fixture
def allowed(monkeypatch): monkeypatch.setenv("IMGCAP_PRIVATE_ADDRESSES", "1")


def to(address, status=302): return status, {"Location": address}, b""


def answer(coding, data): return 200, {"Content-Encoding": coding}, data


ANSWERS = {
    "/good.png": (200, {"Content-Length": str(len(PNG))}, PNG), "/unsaid.png": (200, {}, PNG),
    "/moved.png": to("/good.png"), "/far.png": to("moved.png", 307), "/猫 1.png": (200, {}, PNG),
    "/loop": to("/loop"), "/file": to("file:///etc/passwd"), "/ftp": to("ftp://127.0.0.1/x.png"),
    "/nowhere": (302, {}, b""), "/error": (500, {}, b"no"), "/odd": (599, {}, b""),
    "/empty": (204, {}, b""), "/gzip": answer("gzip", gzip.compress(PNG)),
    "/deflate": answer("deflate", zlib.compress(PNG)), "/br": answer("br", PNG),
    "/two-parts": answer("gzip", gzip.compress(PNG[:50]) + gzip.compress(PNG[50:])),
    "/many-parts": answer("x-gzip", b"".join(gzip.compress(PNG[n:n + 1]) for n in range(len(PNG)))),
    "/filled-up": answer("gzip", gzip.compress(PNG) + bytes(512)),
    "/GZIP": answer("GZIP", gzip.compress(PNG)), "/none": answer("Identity", PNG),
    "/gzip-once": answer("identity, Gzip", gzip.compress(PNG)),
    "/bare-deflate": answer("deflate", zlib.compress(PNG, wbits=-15)),
    "/more-gzip": answer("gzip", gzip.compress(PNG) + b"and more"),
    "/more-deflate": answer("deflate", zlib.compress(PNG) + b"and more"),
    "/cut-part": answer("gzip", gzip.compress(PNG[:50]) + gzip.compress(PNG[50:])[:-12]),
    "/cut-start": answer("gzip", gzip.compress(PNG) + b"\x1f"), "/nothing": answer("gzip", b""),
    "/cut-deflate": answer("deflate", zlib.compress(PNG, wbits=-15)[:-12]),
    "/bombs": answer("gzip", gzip.compress(bytes(40_000_000), 6) * 5),
    "/no-deflate": answer("deflate", PNG),
    "/twice": answer("gzip, gzip", gzip.compress(gzip.compress(PNG))),
    "/bomb": answer("gzip", gzip.compress(bytes(200_000_000), 6)),
    "/cut-gzip": answer("gzip", gzip.compress(PNG)[:-12]), "/no-gzip": answer("gzip", PNG),
    "/short": (200, {"Content-Length": "100000"}, PNG), "/a%2Fb.png?q=1&r=%20": (200, {}, PNG),
    **{f"/hop{n}": to(f"/hop{n + 1}") for n in range(5)}, "/hop5": (200, {}, PNG),
    "/six": to("/hop0"),
    "/private": to("http://10.0.0.1/x.png"), "/metadata": to("http://169.254.169.254/latest")}


class Web(BaseHTTPRequestHandler):
    seen: list = []

    def do_GET(self):
        self.seen.append((self.path, dict(self.headers)))
        path = self.path if "%2F" in self.path else unquote(self.path)
        if path in ("/drip", "/drip-header", "/drip-moved", "/silent"): return self.drip(path)
        status, headers, body = ANSWERS.get(path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items(): self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, path):
        head = {"/drip": b"HTTP/1.1 200 OK\r\n\r\n", "/drip-header": b"HTTP/1.1 200 OK\r\nX: ",
                "/drip-moved": b"HTTP/1.1 302 Found\r\nLocation: /drip-moved\r\nX: 1\r\n\r\n",
                "/silent": b""}[path]
        try:
            if path == "/drip-moved": time.sleep(0.15)
            self.wfile.write(head)
            for _ in range(0 if path == "/drip-moved" else 100):
                time.sleep(0.05)
                if path != "/silent": self.wfile.write(b".")
        except OSError: pass

    def log_message(self, *args): pass


@pytest.fixture(scope="module")
def web():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.handle_error = lambda *args: None
    server.daemon_threads = True
    with serving(server) as address:
        yield address


GOOD = ["good.png", "unsaid.png", "moved.png", "far.png", "猫 1.png", "%E7%8C%AB%201.png", "gzip",
        "deflate", "a%2Fb.png?q=1&r=%20", "hop0", "good.png#part",
        "two-parts", "many-parts", "filled-up", "GZIP", "none", "gzip-once", "bare-deflate"]


@pytest.mark.parametrize("path", GOOD)
def test_what_is_read(web, path): assert fetch_picture(f"{web}/{path}", private=True) == PNG


@pytest.mark.parametrize("size", [1, 2, 19, 1000])
@pytest.mark.parametrize("path", ["/two-parts", "/many-parts", "/filled-up", "/bare-deflate"])
def test_what_comes_in_small_pieces_is_read_whole(path, size):
    _, headers, body = ANSWERS[path]
    blocks = (body[start:start + size] for start in range(0, len(body), size))
    coding = headers["Content-Encoding"].removeprefix("x-")
    assert b"".join(_unfolded(blocks, coding, 1000)) == PNG


BAD = {"gone.png": "404 Not Found", "error": "500 Internal Server Error", "odd": "599",
       "empty": "204 No Content", "nowhere": "302 Found", "loop": "more than 5 redirects",
       "six": "more than 5 redirects",
       "file": "only http and https", "ftp": "only http and https", "br": "compressed as br",
       "twice": "compressed as gzip, gzip", "bomb": "more than the 50,000,000 bytes",
       "cut-gzip": "cut off", "cut-part": "cut off", "cut-start": "cut off",
       "cut-deflate": "cut off", "nothing": "cut off", "bombs": "more than the 50,000,000 bytes",
       "no-gzip": "said to be gzip, and damaged or something else",
       "more-gzip": "said to be gzip, and damaged or something else",
       "no-deflate": "said to be deflate, and damaged or something else",
       "more-deflate": "something stands behind its end", "short": "peer|incomplete"}


@pytest.mark.parametrize("path", BAD)
def test_what_is_refused(web, path):
    with pytest.raises(ImageError, match=BAD[path]) as caught:
        fetch_picture(f"{web}/{path}", private=True)
    said = str(caught.value)
    assert said.startswith(f"{web}/{path}: ") and "\n" not in said


@pytest.mark.parametrize("address, words", [
    ("file:///etc/passwd", "only http"), ("ftp://example.org/x.png", "only http"),
    ("http://", "only http"), ("http:///x.png", "only http"), ("x.png", "only http"),
    ("http://127.0.0.1:99999/x", "."), ("http://127.0.0.1:port/x", "."), ("http://[::1/x", "."),
    ("https://127.0.0.1:1/x.png", "refused"),
    ("http://no.such.host.invalid/x.png", "."), ("http://" + "a" * 300 + ".org/", ".")])
def test_addresses_that_are_none(address, words):
    with pytest.raises(ImageError, match=words) as caught:
        fetch_picture(address, seconds=5, private=True)
    assert str(caught.value).startswith(f"{address}: ")


@pytest.mark.parametrize("path", ["good.png", "unsaid.png", "gzip"])
def test_limit_on_bytes(web, path):
    assert fetch_picture(f"{web}/{path}", private=True, max_bytes=len(PNG)) == PNG
    with pytest.raises(ImageError, match=f"more than the {len(PNG) - 1} (bytes )?that are read"):
        fetch_picture(f"{web}/{path}", private=True, max_bytes=len(PNG) - 1)


def test_a_bomb_takes_no_more_memory_than_is_allowed(web):
    code = f"""
from imgcap.pictures import ImageError, fetch_picture
def peak():
    with open("/proc/self/status") as file: return int(file.read().split("VmHWM:")[1].split()[0])
fetch_picture("{web}/good.png", private=True)
before = peak()
try: fetch_picture("{web}/bomb", private=True, max_bytes=10_000_000)
except ImageError: print(peak() - before)"""
    if not os.path.exists("/proc/self/status"): pytest.skip("tells the peak of memory")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 40_000


@pytest.mark.parametrize("path", ["drip", "drip-header", "drip-moved", "silent"])
def test_limit_on_the_whole_exchange(web, path):
    start = time.monotonic()
    with pytest.raises(ImageError, match=r"not complete after 0.4 seconds|more than 5 redirects"):
        fetch_picture(f"{web}/{path}", private=True, seconds=0.4)
    assert time.monotonic() - start < 1.5


def test_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:
        for scheme in "http", "https":
            start = time.monotonic()
            with pytest.raises(ImageError, match="not complete after 0.3 seconds"):
                address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/x.png"
                fetch_picture(address, private=True, seconds=0.3)
            assert time.monotonic() - start < 2


# Private networks

PRIVATE = ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0",
           "0.0.0.0", "0x7f.1", "127.0.0.1.", "10.0.0.1", "172.16.3.4", "192.168.1.1",
           "169.254.169.254",
           "100.64.0.1", "224.0.0.1", "255.255.255.255", "[::1]", "[::]", "[fe80::1]", "[fd00::1]",
           "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
           "[::127.0.0.1]", "[ff02::1]", "[fec0::1]", "LOCALHOST", "①②⑦.⓪.⓪.①"]


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_refused_unless_allowed(host, web):
    address = f"http://{host}:{web.rpartition(':')[2]}/good.png"
    Web.seen.clear()
    with pytest.raises(ImageError): fetch_picture(address, seconds=2)
    with pytest.raises(ImageError): decode_image({"bytes": None, "path": address})
    assert not Web.seen


@pytest.mark.parametrize("address, public", [
    ("93.184.216.34", True), ("2606:4700::6810:84e5", True), ("64:ff9b::5db8:d822", True),
    ("64:ff9b::a00:1", False), ("2002:5db8:d822::", True), ("::ffff:8.8.8.8", True),
    ("fe80::1%eth0", False), ("172.32.0.1", True), ("172.31.255.255", False), ("::", False)])
def test_public_addresses(address, public): assert _is_public(address) == public


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::1]", "[fd00::1]"])
def test_the_error_says_what_would_do(host):
    with pytest.raises(ImageError, match="this machine; IMGCAP_PRIVATE_ADDRESSES=1 allows"):
        fetch_picture(f"http://{host}/x.png")


@pytest.mark.parametrize("path", ["private", "metadata"])
def test_a_redirect_is_looked_at_too(web, path, monkeypatch):
    monkeypatch.setattr("imgcap.fetch._is_public", lambda address: address == "127.0.0.1")
    assert fetch_picture(f"{web}/good.png") == PNG
    with pytest.raises(ImageError, match="private network"):
        fetch_picture(f"{web}/{path}", seconds=2)


def names(monkeypatch, *answers):
    "A name server that answers something else each time it is asked."
    answers = list(answers)

    def getaddrinfo(host, port, *args, **options):
        if host == "pictures.example":
            host = answers.pop(0) if len(answers) > 1 else answers[0]
        return real(host, port, *args, **options)
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_name_that_leads_into_a_private_network(web, monkeypatch):
    names(monkeypatch, "127.0.0.1")
    with pytest.raises(ImageError, match="pictures.example is in a private network"):
        fetch_picture(web.replace("127.0.0.1", "pictures.example") + "/good.png")


def test_a_name_is_looked_up_once_and_that_address_is_called(web, monkeypatch):
    names(monkeypatch, "203.0.113.1", "127.0.0.1")  # of the first, nobody says that it is private
    monkeypatch.setattr("imgcap.fetch._is_public", lambda address: address == "203.0.113.1")
    called = []

    class Backend:
        def connect_tcp(self, host, *args):
            called.append(host)
            raise OSError("not reached")
    monkeypatch.setattr("httpcore.SyncBackend", Backend)
    with pytest.raises(ImageError):
        fetch_picture(web.replace("127.0.0.1", "pictures.example") + "/good.png")
    assert called == ["203.0.113.1"]


def test_the_variable_allows_them(web, allowed):
    assert fetch_picture(f"{web}/good.png") == PNG
    with pytest.raises(ImageError): fetch_picture(f"{web}/good.png", private=False)


# One fetcher

def test_rows_and_strings_go_the_same_way(web, allowed):
    row = {"bytes": None, "path": f"{web}/moved.png"}
    for x in row, row["path"]: assert decode_image(x).size == (30, 20)
    assert inspect_picture(row, decode=True) == inspect_picture({"bytes": PNG, "path": None}, True)
    assert picture_digest(row) == picture_digest({"bytes": PNG, "path": None})


@pytest.mark.parametrize("path", [
    "file:///etc/passwd", "ftp://example.org/x.png", "memory://x.png", "ssh://example.org/x.png",
    "zip://x.png::http://127.0.0.1/x.zip", "data://x",
    "zip://x.png::ftp://127.0.0.1/x.zip", "s3://bucket/x.png", "local:///etc/passwd"])
def test_nothing_else_is_opened(path, allowed):
    row = {"bytes": None, "path": path}
    for read in decode_image, picture_digest:
        with pytest.raises(ImageError, match="only http, https and hf"): read(row)
    assert inspect_picture(row, decode=True)[3].startswith("only http, https and hf")


def test_archives_are_read(tmp_path):
    import zipfile
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive: archive.writestr("in/x.png", PNG)
    row = {"bytes": None, "path": f"zip://in/x.png::{tmp_path}/a.zip"}
    assert decode_image(row).size == (30, 20)
    row["path"] = row["path"].replace("x.png", "y.png")
    with pytest.raises(ImageError) as caught: decode_image(row)
    assert str(caught.value).count("zip://") == 1


# Passwords

def test_a_password_is_sent_and_not_shown(web):
    Web.seen.clear()
    address = web.replace("//", "//me:s%40cret@")
    assert fetch_picture(f"{address}/moved.png", private=True) == PNG
    signs = [headers.get("Authorization") for _, headers in Web.seen]
    assert signs == ["Basic bWU6c0BjcmV0"] * 2
    for path, options in [("gone.png", {"private": True}), ("x", {}), ("loop", {"private": True}),
                          ("drip", {"private": True, "seconds": 0.2})]:
        with pytest.raises(ImageError) as caught: fetch_picture(f"{address}/{path}", **options)
        assert "cret" not in str(caught.value) and "127.0.0.1" in str(caught.value)
    row = {"bytes": None, "path": f"{address}/gone.png"}
    with pytest.raises(ImageError) as caught: decode_image(row)
    assert "cret" not in str(caught.value) and "cret" not in inspect_picture(row, True)[3]


def test_a_password_is_not_sent_elsewhere(web, monkeypatch):
    Web.seen.clear()
    monkeypatch.setitem(ANSWERS, "/away", to(web.replace("127.0.0.1", "localhost") + "/good.png"))
    assert fetch_picture(web.replace("//", "//me:secret@") + "/away", private=True) == PNG
    assert [("Authorization" in headers) for _, headers in Web.seen] == [True, False]


@pytest.mark.parametrize("address, shown", [
    ("https://user:secret@host/x.png", "https://host/x.png"), ("photos/a@b.png", "photos/a@b.png"),
    ("https://u:p@ss@host/x", "https://host/x"), ("https://host/a@b.png", "https://host/a@b.png"),
    ("https://host/?q=a@b", "https://host/?q=a@b"), ("HTTPS://u@host:1/", "HTTPS://host:1/"),
    ("zip://a.png::https://u:p@host/a.zip", "zip://a.png::https://host/a.zip")])
def test_without_password(address, shown): assert without_password(address) == shown


# Proxies

class Proxy(BaseHTTPRequestHandler):
    seen: list = []

    def do_GET(self):
        self.seen.append((self.path, self.headers.get("Proxy-Authorization")))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PNG)

    def log_message(self, *args): pass


@pytest.fixture
def proxy(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{server.server_port}")
    Proxy.seen.clear()
    with serving(server):
        yield server


def test_a_proxy_is_used_and_looks_names_up_itself(proxy):
    assert fetch_picture("http://no.such.host.invalid/x.png") == PNG
    assert Proxy.seen == [("http://no.such.host.invalid/x.png", "Basic bWU6c2VjcmV0")]


LITERALS = ["127.0.0.1", "localhost", "2130706433", "169.254.169.254", "[::1]"]


@pytest.mark.parametrize("host", LITERALS)
def test_behind_a_proxy_private_addresses_are_refused_by_what_is_written(proxy, host):
    with pytest.raises(ImageError, match="private network"): fetch_picture(f"http://{host}/x.png")
    assert not Proxy.seen


def test_no_proxy(proxy, web, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert fetch_picture(f"{web}/good.png", private=True) == PNG and not Proxy.seen


def test_other_proxies_are_named(monkeypatch):
    monkeypatch.setenv("all_proxy", "socks5://me:secret@127.0.0.1:9")
    with pytest.raises(ImageError, match="only http proxies") as caught:
        fetch_picture("http://example.org/x.png")
    assert "secret" not in str(caught.value)
