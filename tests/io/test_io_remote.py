"""Remote files: fetched once, complete, of the present version, and inside the cache folder."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import fsspec
import numpy as np
import pytest

from cytoloop.__main__ import main
from cytoloop.curation import CurationSettings, curate
from cytoloop.errors import ConfigError, ImageError, ManifestError, OutputError
from cytoloop.inference.inputs.list_inputs import list_inputs
from cytoloop.io.listing import list_images
from cytoloop.io.names import path_in_url, stem
from cytoloop.io.read import read_image
from cytoloop.io.remote import cache as remote_cache
from cytoloop.io.remote import cache_folder, fetch, fetch_all, forget_fetched, transfer
from cytoloop.manifest import Row, absolute_path, read_manifest, write_manifest
from cytoloop.redact import redact_url
from cytoloop.urls import is_remote


class Handler(SimpleHTTPRequestHandler):
    """Serve the files of a folder, log the requests, and send faulty responses for some names."""

    def log_message(self, *words: object) -> None:
        return

    def end_headers(self) -> None:
        if "etag" in self.path:
            self.send_header("ETag", f'"{Path(self.translate_path(self.path)).stat().st_size}"')
        super().end_headers()

    def do_HEAD(self) -> None:
        self.server.requests.append(("HEAD", self.path))  # type: ignore[attr-defined]
        if not self.send_fault():
            super().do_HEAD()

    def do_GET(self) -> None:
        self.server.requests.append(("GET", self.path))  # type: ignore[attr-defined]
        if not self.send_fault():
            super().do_GET()

    def send_fault(self) -> bool:
        if "forbidden" in self.path:
            self.send_error(403)
        elif "secret" in self.path and not self.headers.get("Authorization"):
            self.send_error(401)
        elif "broken" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"x" * 100)
            self.close_connection = True
        elif "short" in self.path:  # only HEAD states the size
            self.send_response(200)
            if self.command == "HEAD":
                self.send_header("Content-Length", "1000")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"x" * 100)
            self.close_connection = True
        elif "nameless" in self.path:  # states nothing that identifies the content
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)
        else:
            return False
        return True


class Server(ThreadingHTTPServer):
    def __init__(self, folder: Path, handler: Any = Handler) -> None:
        super().__init__(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        self.folder = folder
        self.requests: list[tuple[str, str]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, name: str, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.server_port}/{name}"

    def put(self, name: str, content: bytes, age: float = 100.0) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (time.time() - age, time.time() - age))
        return self.url(name)

    @property
    def gets(self) -> int:
        return sum(verb == "GET" for verb, _ in self.requests)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CYTOLOOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_cache, "_RETRY_S", 60.0)
    forget_fetched()
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    one = Server(tmp_path / "served")
    yield one
    one.shutdown()
    one.server_close()


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def leftovers(cache: Path) -> list[Path]:
    """Return the files in the cache folder, hidden ones too."""
    return [path for path in cache.rglob("*") if path.is_file()]


def test_urls_are_distinguished_from_paths() -> None:
    assert all(map(is_remote, ("https://h/a.tif", "S3://b/k", "zip://a.tif::https://h", "ftp://h")))
    texts = ("a.tif", "/a/b.tif", "C:/a.tif", "C://a.tif", "a::b.tif", "", "~/a", "..//a")
    assert not any(map(is_remote, texts))
    assert not is_remote(Path("a")) and not is_remote(None)


def test_copy_has_the_same_content_and_name(server: Server, cache: Path) -> None:
    url = server.put("plate 1/im\u00e4ge.ome.tiff", b"abc" * 1000)
    for text in (url, server.url("plate%201/im%C3%A4ge.ome.tiff?download=1")):
        path = fetch(text)
        assert path.read_bytes() == b"abc" * 1000
        assert path.name == "im\u00e4ge.ome.tiff" and path.is_relative_to(cache)
    assert len(leftovers(cache)) == 2  # only the copies
    assert cache_folder() == cache


def test_unchanged_file_is_not_downloaded_again(server: Server) -> None:
    url = server.put("a.tif", b"one")
    first = fetch(url)
    assert fetch(url) == first and len(server.requests) == 2  # HEAD and GET, then no request
    forget_fetched()
    assert fetch(url) == first and server.gets == 1 and len(server.requests) == 3


def test_other_process_uses_the_copy_unless_the_file_changed(server: Server) -> None:
    url = server.put("a.tif", b"one")
    code = "import sys; from cytoloop.io.remote import fetch; print(fetch(sys.argv[1]))"

    def elsewhere() -> Path:
        words = [sys.executable, "-c", code, url]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return Path(done.stdout.strip())

    first = fetch(url)
    assert elsewhere() == first and server.gets == 1
    server.put("a.tif", b"two", age=50)  # same size, other time
    second = elsewhere()
    assert second.read_bytes() == b"two" and server.gets == 2
    assert first.read_bytes() == b"one"  # a process may still read it
    forget_fetched()
    assert fetch(url) == second and server.gets == 2


def test_etag_has_priority_over_the_time(server: Server) -> None:
    url = server.put("etag.tif", b"one")
    first = fetch(url)
    forget_fetched()
    server.put("etag.tif", b"one", age=10)
    assert fetch(url) == first and server.gets == 1
    forget_fetched()
    server.put("etag.tif", b"three", age=10)
    assert fetch(url).read_bytes() == b"three"


@pytest.mark.parametrize(("name", "age"), [("nameless.tif", 100.0), ("a.tif", 0.0)])
def test_file_without_a_version_is_downloaded_by_each_process(
    server: Server, cache: Path, name: str, age: float
) -> None:
    url = server.put(name, b"one", age)
    first = fetch(url)
    assert fetch(url) == first and server.gets == 1
    forget_fetched()
    assert fetch(url) == first and server.gets == 2 and len(leftovers(cache)) == 1
    forget_fetched()
    server.put(name, b"two", age)
    assert fetch(url).read_bytes() == b"two"


def test_former_copies_are_deleted_after_a_day(server: Server, cache: Path) -> None:
    url = server.put("a.tif", b"one")
    first = fetch(url)
    broken = first.parent.parent / ".fetching-killed"
    broken.mkdir()
    for path in (first.parent, broken):
        os.utime(path, (0, 0))
    forget_fetched()
    server.put("a.tif", b"second")
    second = fetch(url)
    assert leftovers(cache) == [second] and not broken.exists()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("gone.tif", "HTTP 404: no such file"),
        ("forbidden.tif", "HTTP 403: no permission"),
        ("broken.tif", "the download broke off"),
        ("short.tif", "the download broke off: received 100 of 1000 bytes"),
        ("a.ome.zarr", "which http servers cannot list"),
        ("a.zarr/labels/x", "which http servers cannot list"),
    ],
)
def test_failure_is_explained_and_leaves_no_files(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, problem: str
) -> None:
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: None)
    url = server.url(name, "ann:s3cret@") + "?token=t0ken"
    with pytest.raises(ImageError, match=problem) as caught:
        fetch(url)
    assert caught.value.where == server.url(name) + "?..."
    assert caught.value.repair and leftovers(cache) == []
    assert not list(cache.rglob(".fetching-*"))
    messages = repr(caught.value) + repr(caught.value.__cause__)
    assert "s3cret" not in messages and "t0ken" not in messages
    requests = len(server.requests)
    with pytest.raises(ImageError, match=problem):  # repeated without a request
        fetch(url)
    assert len(server.requests) == requests
    forget_fetched()


def test_broken_download_is_repeated(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: None)
    url = server.put("broken.tif", b"whole")
    send_fault, broken = Handler.send_fault, []

    def once(self: Handler) -> bool:
        if self.command == "GET" and not broken:
            broken.append(1)
            return send_fault(self)
        return False

    monkeypatch.setattr(Handler, "send_fault", once)
    assert fetch(url).read_bytes() == b"whole" and server.gets == 2


def test_unreachable_server_is_explained(server: Server) -> None:
    port = server.server_port
    server.shutdown()
    server.server_close()
    with pytest.raises(ImageError, match="no connection to the server"):
        fetch(f"http://127.0.0.1:{port}/a.tif")
    with pytest.raises(ImageError, match="cannot be resolved|no connection"):
        fetch("http://no-such-host.invalid/a.tif")


def test_user_and_password_are_used_but_not_shown(server: Server, cache: Path) -> None:
    server.put("secret.tif", b"mine")
    with pytest.raises(ImageError, match="HTTP 401: no permission"):
        fetch(server.url("secret.tif"))
    path = fetch(server.url("secret.tif", "ann:pass@"))
    assert path.read_bytes() == b"mine"
    assert not any("ann" in part or "pass" in part for part in path.relative_to(cache).parts)
    assert redact_url("https://ann:p@host:80/a.tif?sig=1 then http://b:c@d/e") == (
        "https://host:80/a.tif?... then http://d/e"
    )
    assert redact_url("http://ann:p/w@host/a.tif") == "http://***"
    assert redact_url("s3://bucket/a@b.tif") == "s3://bucket/a@b.tif"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://host/a.tif", "protocol 'ftp' is not followed; expected http, https, s3, gs"),
        ("sftp://ann:s3cret@host/a.tif", "protocol 'sftp'"),
        ("local:///etc/passwd", "protocol 'local'"),
        ("zip://a.tif::http://127.0.0.1/a.zip", "chain of URLs"),
        ("simplecache::https://ann:s3cret@host/a.tif", "chain of URLs"),
        ("s3://key:s3cret@bucket/a.tif", "holds a user name"),
        ("file://elsewhere/a.tif", "names the machine 'elsewhere'"),
    ],
)
def test_other_protocols_are_refused(url: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=problem) as caught:
        fetch(url)
    assert "s3cret" not in str(caught.value)
    if "elsewhere" not in url:
        write_manifest(tmp_path / "t.csv", [{"raw": url}], ("raw",))
        with pytest.raises(ManifestError, match=problem) as refused:
            read_manifest(tmp_path / "t.csv")
        assert "s3cret" not in str(refused.value)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ImageError, match="gs:// needs the package gcsfs") as caught:
        fetch("gs://bucket/a.tif")
    assert caught.value.repair == "Install it: pip install 'cytoloop[gs]'"


def test_unwritable_cache_is_explained(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.put("a.tif", b"one")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CYTOLOOP_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="CYTOLOOP_CACHE"):
        fetch(url)


def test_parallel_calls_download_each_file_once(server: Server, cache: Path) -> None:
    urls = [server.put(f"{i}.tif", bytes([i]) * 100_000) for i in range(4)]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(fetch, urls * 6))
    assert server.gets == 4 and len(set(found)) == 4
    assert [p.read_bytes() for p in found[:4]] == [bytes([i]) * 100_000 for i in range(4)]
    forget_fetched()
    fetch_all([*urls, server.url("gone.tif"), "a.tif"], progress=True)
    assert sum(path != "/gone.tif" for verb, path in server.requests if verb == "GET") == 4


def test_parallel_processes_share_one_copy(server: Server, cache: Path) -> None:
    url = server.put("a.tif", b"z" * 3_000_000)
    code = "import sys; from cytoloop.io.remote import fetch; print(fetch(sys.argv[1]))"
    words = [sys.executable, "-c", code, url]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {one.communicate()[0].strip() for one in running}
    assert len(found) == 1 and all(one.returncode == 0 for one in running)
    assert [p.stat().st_size for p in leftovers(cache)] == [3_000_000]


def write_zarr(path: Path) -> np.ndarray:
    from bioio_ome_zarr.writers import OMEZarrWriter

    data = np.arange(4 * 20 * 24, dtype=np.uint16).reshape(1, 1, 4, 20, 24)
    OMEZarrWriter(store=str(path), level_shapes=[data.shape], dtype=data.dtype).write_full_volume(
        data
    )
    return data[0, 0]


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_ome_zarr_is_copied_whole(tmp_path: Path, memory: Any, cache: Path, protocol: str) -> None:
    store = tmp_path / "own" / "a b.ome.zarr"
    store.parent.mkdir()
    data = write_zarr(store)
    url = f"file://{store}"
    if protocol == "memory":
        memory.put(str(store), "/box/a b.ome.zarr", recursive=True)
        url = "memory://box/a b.ome.zarr"
    path = fetch(url)
    assert path.name == "a b.ome.zarr" and path.is_relative_to(cache) == (protocol == "memory")
    assert np.array_equal(read_image(path).data[0], data)
    files = {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()}
    assert {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()} == files
    if protocol == "memory":
        forget_fetched()
        assert fetch(url) == path
        forget_fetched()
        memory.pipe("/box/a b.ome.zarr/more", b"x")
        assert fetch(url) != path and (fetch(url) / "more").read_bytes() == b"x"


def test_memory_file_is_fetched_and_a_missing_file_explained(memory: Any) -> None:
    memory.pipe("/a/b.tif", b"abc")
    assert fetch("memory://a/b.tif").read_bytes() == b"abc"
    memory.pipe("/a/b.tif", b"xyz")
    assert fetch("memory://a/b.tif").read_bytes() == b"abc"  # the version of this process
    forget_fetched()
    assert fetch("memory://a/b.tif").read_bytes() == b"xyz"
    with pytest.raises(ImageError, match="memory://a/c.tif: no such file"):
        fetch("memory://a/c.tif")


@pytest.mark.parametrize("name", ["../../evil", "a/../../evil", "C:evil", "a\\..\\evil", "a//b"])
def test_server_names_cannot_lead_out_of_the_cache(
    memory: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    memory.pipe("/box/a.zarr/x", b"x")
    evil = {f"/box/a.zarr/{name}": {"name": "/box/a.zarr/x", "size": 1, "type": "file"}}
    monkeypatch.setattr(type(memory), "find", lambda self, *words, **options: evil)
    with pytest.raises(ImageError, match="leads out of its folder"):
        fetch("memory://box/a.zarr")
    assert leftovers(cache) == []


def test_url_names_cannot_lead_out_of_the_cache(server: Server, cache: Path) -> None:
    server.put("x", b"x")
    for text in ("..%2F..%2Fx", "%2E%2E/x", "x?a=/../../y.tif"):
        try:
            path = fetch(server.url(text))
        except ImageError:
            continue
        assert path.resolve().is_relative_to(cache.resolve())


class S3Handler(SimpleHTTPRequestHandler):
    """Minimal S3 server for reading a bucket; the ETag of a key depends on its content."""

    objects: ClassVar[dict[str, bytes]] = {}
    requests: ClassVar[list[tuple[str, str]]] = []
    signed: ClassVar[list[bool]] = []

    def log_message(self, *words: object) -> None:
        return

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.requests.append((self.command, self.path))
        self.signed.append("Authorization" in self.headers)
        bucket, _, key = parts.path.lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        status, content, headers = 404, b"", {}
        if "list-type" in query:
            prefix = query.get("prefix", "")
            lines = [
                f"<Contents><Key>{escape(k)}</Key><Size>{len(v)}</Size><ETag>e{hash(v)}</ETag>"
                "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
                for k, v in sorted(self.objects.items())
                if k.startswith(prefix)
            ]
            text = f"<ListBucketResult><Name>{bucket}</Name>{''.join(lines)}</ListBucketResult>"
            status, content = 200, text.encode()
        elif key in self.objects:
            status, content = 200, self.objects[key]
            headers = {"ETag": f"e{hash(content)}", "Last-Modified": self.date_time_string(1e9)}
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.mark.parametrize("credentials", [False, True])
def test_s3_is_read_with_and_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credentials: bool
) -> None:
    one = Server(tmp_path, S3Handler)
    S3Handler.requests, S3Handler.signed = [], []
    S3Handler.objects = {"a/b.tif": b"abc", "z.ome.zarr/zarr.json": b"{}", "z.ome.zarr/c/0": b"0"}
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{one.server_port}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    if credentials:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    transfer.has_no_aws_credentials.cache_clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    try:
        path = fetch("s3://bucket/a/b.tif")
        assert path.read_bytes() == b"abc" and path.name == "b.tif"
        forget_fetched()
        gets = sum(p == "/bucket/a/b.tif" for verb, p in S3Handler.requests if verb == "GET")
        assert fetch("s3://bucket/a/b.tif") == path
        assert gets == sum(p == "/bucket/a/b.tif" for v, p in S3Handler.requests if v == "GET") == 1
        forget_fetched()
        S3Handler.objects["a/b.tif"] = b"xyz"
        assert fetch("s3://bucket/a/b.tif").read_bytes() == b"xyz"
        store = fetch("s3://bucket/z.ome.zarr")
        assert (store / "zarr.json").read_bytes() == b"{}" and (store / "c/0").read_bytes() == b"0"
        with pytest.raises(ImageError, match="no such file"):
            fetch("s3://bucket/none.tif")
        assert set(S3Handler.signed) == {credentials}
    finally:
        transfer.has_no_aws_credentials.cache_clear()
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        one.shutdown()
        one.server_close()


def test_image_names_are_taken_from_urls() -> None:
    assert path_in_url("https://u:p@h/a%20b/c.tif?x=/y#z") == "a b/c.tif"
    assert path_in_url("https://h/api/files/c.tif/content") == "api/files/c.tif"
    assert path_in_url("s3://bucket/k?y.tif") == "bucket/k?y.tif"
    assert stem("https://h/img_1.ome.tif?token=a.b") == "img_1"
    assert Row({"raw": "https://h/img_1.ome.tif?token=1"}).id == "img_1"


def test_reading_a_manifest_fetches_nothing(server: Server, tmp_path: Path) -> None:
    url = server.put("img.tif", b"one")
    write_manifest(tmp_path / "t.csv", [{"raw": url, "seg1": "s.tif"}], ("raw", "seg1"))
    row = read_manifest(tmp_path / "t.csv").rows[0]
    assert (row.id, row.location("raw"), row.location("seg2")) == ("img", url, "")
    assert row.location("seg1") == str(tmp_path / "s.tif") and server.requests == []
    path = row.file("raw")
    assert path is not None and path.read_bytes() == b"one"


def test_urls_are_refused_where_a_path_is_needed(tmp_path: Path) -> None:
    url = "https://ann:s3cret@host/folder"
    for error, call in (
        (ManifestError, lambda: absolute_path(url)),
        (ManifestError, lambda: read_manifest(f"{url}/t.csv")),
        (ImageError, lambda: list_images(url)),
        (ConfigError, lambda: CurationSettings(raw=url, seg1=url, output=tmp_path)),
    ):
        with pytest.raises(error, match="is a URL") as caught:
            call()
        assert "s3cret" not in str(caught.value)


def test_predict_accepts_urls(server: Server, tmp_path: Path, images_2d: Path) -> None:
    content = (images_2d / "raw" / "img_0.tif").read_bytes()
    for name in ("a/x.tif", "b/x.tif"):
        server.put(name, content)
    (row,) = list_inputs(server.url("a/x.tif"))
    assert (row.id, row["name"], row.location("raw")) == ("x", "x", server.url("a/x.tif"))
    cells = [{"raw": server.url(name)} for name in ("a/x.tif", "b/x.tif", "gone.tif")]
    write_manifest(tmp_path / "in.csv", cells, ("raw",))
    assert [row["name"] for row in list_inputs(tmp_path / "in.csv")] == ["a__x", "b__x", "gone"]


def cells_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def table(server: Server, images_2d: Path, tmp_path: Path) -> Path:
    """CSV with URLs of images and exclude masks; the images are moved to the server."""
    import shutil

    from conftest import write_tiff

    shutil.copytree(images_2d, server.folder / "d")
    shutil.rmtree(images_2d)
    mask = np.zeros((48, 56), np.uint8)
    mask[:5] = 1
    write_tiff(server.folder / "d" / "mask.tif", mask)
    for path in (server.folder / "d").rglob("*.tif"):
        os.utime(path, (1e9, 1e9))
    rows = [
        {
            "raw": server.url(f"d/raw/img_{i}.tif", "ann:pw@"),
            "seg1": server.url(f"d/seg/img_{i}.tif"),
            "exclude_mask": server.url("d/mask.tif") if i < 2 else "",
        }
        for i in range(5)
    ]
    write_manifest(tmp_path / "table.csv", rows, ("raw", "seg1", "exclude_mask"))
    return tmp_path / "table.csv"


def test_curation_keeps_urls(table: Path, server: Server, tmp_path: Path) -> None:
    output = tmp_path / "dataset"
    settings = CurationSettings(raw=table, output=output, exclude_rules=["saturated"], report=True)
    result = curate(settings, cache=tmp_path / "checks.sqlite")
    assert result.counts["keep"] == 5
    assert server.gets == 11 and "pw@" not in (output / "report.html").read_text()
    given = {Path(row["seg1"]).stem: row for row in cells_of(table)}
    written = cells_of(output / "dataset.csv")
    for row in written:
        assert row["raw"] == given[row["id"]]["raw"] and row["seg1"] == given[row["id"]]["seg1"]
        assert "cache" not in str(row.values())
    assert given["img_0"]["exclude_mask"] in written[0]["exclude"]
    before = (output / "dataset.csv").read_bytes()
    forget_fetched()
    curate(settings, cache=tmp_path / "checks.sqlite")
    assert (output / "dataset.csv").read_bytes() == before and server.gets == 11
    forget_fetched()
    curate(CurationSettings(output=output, raw=None))  # only the rows of the earlier round
    assert [row["raw"] for row in cells_of(output / "dataset.csv")] == [r["raw"] for r in written]


def test_curation_reports_urls_that_cannot_be_fetched(
    table: Path, server: Server, tmp_path: Path
) -> None:
    (server.folder / "d/raw/img_3.tif").unlink()
    (server.folder / "d/mask.tif").unlink()
    with pytest.raises(ManifestError) as caught:
        curate(CurationSettings(raw=table, output=tmp_path / "dataset"))
    problems = "\n".join(caught.value.problems)
    assert problems.count("HTTP 404: no such file") == 2
    assert "img_3.tif: HTTP" in problems and "img_0, img_1" in problems
    assert "pw@" not in problems and not (tmp_path / "dataset").exists()


@pytest.mark.parametrize("export", ["cytodl", "segmenter_ml"])
def test_exports_copy_the_remote_images(
    server: Server, images_3d: Path, tmp_path: Path, export: str
) -> None:
    url = f"file://{images_3d}"
    memory_system = fsspec.filesystem("memory")
    memory_system.put(str(images_3d), "/exported", recursive=True)
    rows = [
        {"raw": f"memory://exported/raw/img_{i}.tif", "seg1": f"{url}/seg/img_{i}.tif"}
        for i in range(5)
    ]
    write_manifest(tmp_path / "t.csv", rows, ("raw", "seg1"))
    curate(CurationSettings(raw=tmp_path / "t.csv", output=tmp_path / "out", export=export))
    folder = tmp_path / "out" / export
    (found,) = list(folder.rglob("train.csv"))
    for row in cells_of(found):
        assert Path(row["raw"]).is_relative_to(folder) and Path(row["raw"]).is_file()


def test_curate_and_check_commands_with_urls(
    table: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check = ["check", "experiment=nuclei_2d", "data.patch_size=[32,32]", "data.path=dataset"]
    assert main(["curate", f"raw={table}", "output=dataset"]) == 0
    forget_fetched()
    assert main(check) == 0 and server.gets == 11
    content = (server.folder / "d/raw/img_1.tif").read_bytes()
    server.put("d/raw/img_0.tif", content)
    forget_fetched()
    assert main(check) == 2  # the image changed


@pytest.mark.slow
def test_whole_loop_with_urls(
    table: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tiny = ["experiment=nuclei_2d", "data.patch_size=[32,32]", "model/size=small"]
    assert main(["curate", f"raw={table}", "output=dataset"]) == 0
    assert main(["check", *tiny[:2], "data.path=dataset"]) == 0
    tiny += ["data.batch_size=2", "data.steps_per_epoch=2", "trainer.max_epochs=1"]
    tiny += ["trainer.precision=32", "augmentation=light", "data.path=dataset", "output=m"]
    assert main(["train", *tiny]) == 0
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    model = "checkpoint=m/checkpoints/best.ckpt"
    assert main(["predict", "input=dataset/dataset.csv", model, "output=p"]) == 0
    predicted = cells_of(tmp_path / "p/predictions.csv")
    given = {Path(row["seg1"]).stem: redact_url(row["raw"]) for row in cells_of(table)}
    assert {row["id"]: row["raw"] for row in predicted} == given
    assert all((tmp_path / "p" / row["labels"]).is_file() for row in predicted)
    url = server.url("d/raw/img_0.tif")
    assert main(["predict", f"input={url}", model, "output=one"]) == 0
    assert cells_of(tmp_path / "one/predictions.csv")[0]["raw"] == url
    words = ["predictions=p/predictions.csv", "truth=dataset/dataset.csv", "output=e", "overlays=1"]
    assert main(["evaluate", *words, "log_to_mlflow=false"]) == 0
    (scores,) = [path for path in (tmp_path / "e").glob("*.csv") if "raw" in path.read_text()]
    assert {row["raw"] for row in cells_of(scores)} == set(given.values())
    assert server.gets == 12  # each file once, one of them also by another URL
    assert main(["predict", "input=https://h/a.tif", model, "output=s3://bucket/p"]) == 2
