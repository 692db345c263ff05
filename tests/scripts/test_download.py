import errno
import hashlib
import http.server
import io
import shutil
import threading
import zipfile
from unittest.mock import Mock

import download_div2k
import pytest


def archive_of(name, count):
    with zipfile.ZipFile(content := io.BytesIO(), "w") as archive:
        for n in range(count):
            archive.writestr(f"{name}/{n:04}.png", bytes([n]) * 50_000)
    return content.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; as many answers as `cuts` says end early."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.cuts = 0
        self.has_ranges = True
        self.ranges = []  # of all requests


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers["Range"])
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        first = int(server.ranges[-1][6:-1]) if server.has_ranges else 0
        self.send_response(206 if server.has_ranges else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first : first + 70_000] if server.cuts else content[first:])
        server.cuts = max(0, server.cuts - 1)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on loopback with two small archives, in place of DIV2K's."""
    files, archives = {}, {}
    for name, count in (("valid", 3), ("train", 5)):
        content = files[f"/DIV2K/DIV2K_{name}_HR.zip"] = archive_of(f"DIV2K_{name}_HR", count)
        archives[name] = (count, len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(download_div2k, "ARCHIVES", archives)
    with Server(files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def download(server, folder, *options):
    address = f"http://127.0.0.1:{server.server_address[1]}/DIV2K"
    return download_div2k.main(["--address", address, "--folder", str(folder), *options])


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


ALL = [f"DIV2K_train_HR/{n:04}.png" for n in range(5)]
ALL += [f"DIV2K_valid_HR/{n:04}.png" for n in range(3)]
VALID = "/DIV2K/DIV2K_valid_HR.zip"


def test_photographs_are_fetched_unpacked_and_not_fetched_again(server, tmp_path, capsys):
    killed = tmp_path / ".unpacking_train" / "DIV2K_train_HR"  # while it unpacked
    killed.mkdir(parents=True)
    (killed / "0004.png").write_text("half")
    for _ in range(2):
        assert download(server, tmp_path) == 0
        assert names(tmp_path) == ALL
        assert "DIV2K_train_HR: 5 photographs" in capsys.readouterr().out
    assert (tmp_path / "DIV2K_train_HR/0004.png").read_bytes() == bytes([4]) * 50_000
    assert len(server.ranges) == 2
    shutil.rmtree(tmp_path / "DIV2K_valid_HR")
    assert download(server, tmp_path, "--keep-archives") == 0
    assert (tmp_path / "DIV2K_valid_HR.zip").read_bytes() == server.files[VALID]


def test_the_same_command_continues_after_a_broken_connection(server, tmp_path, capsys):
    server.cuts = 2
    for done in ("70,000", "140,000"):
        assert download(server, tmp_path) == 1
        assert f"DIV2K_valid_HR.zip: only {done} of 150," in (capsys.readouterr().err)
    assert download(server, tmp_path) == 0
    assert server.ranges == ["bytes=0-", "bytes=70000-", "bytes=140000-", "bytes=0-"]
    assert names(tmp_path) == ALL
    shutil.rmtree(tmp_path / "DIV2K_valid_HR")
    server.has_ranges, server.cuts = False, 1  # so that all is sent again
    assert [download(server, tmp_path) for _ in range(2)] == [1, 0]
    assert names(tmp_path) == ALL


def test_wrong_content_is_named_and_not_deleted(server, tmp_path, capsys):
    wrong = server.files[VALID].replace(b"\1", b"?")
    (tmp_path / "DIV2K_valid_HR.zip").write_bytes(wrong)
    assert download(server, tmp_path) == 1
    digests = [hashlib.sha256(content).hexdigest() for content in (wrong, server.files[VALID])]
    expected = "DIV2K_valid_HR.zip: SHA-256 {}, expected {}; delete it".format(*digests)
    assert expected in capsys.readouterr().err
    assert names(tmp_path) == ["DIV2K_valid_HR.zip"]
    assert not server.ranges


def test_other_answers_do_not_harm_what_has_arrived(server, tmp_path, monkeypatch, capsys):
    server.cuts, whole = 1, server.files[VALID]
    assert download(server, tmp_path) == 1
    server.files[VALID], server.has_ranges = b"<html>we have moved</html>", False
    assert download(server, tmp_path) == 1
    assert "DIV2K_valid_HR.zip: 26 bytes; expected 150" in capsys.readouterr().err
    del server.files[VALID]
    assert download(server, tmp_path) == 1
    assert "DIV2K_valid_HR.zip: HTTP Error 404" in capsys.readouterr().err
    assert download_div2k.main(["--address", "http://127.0.0.1:9", "--folder", str(tmp_path)]) == 1
    assert "Connection refused" in capsys.readouterr().err
    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(download_div2k.shutil, "copyfileobj", full)
    server.files[VALID], server.has_ranges = whole, True
    assert download(server, tmp_path) == 1
    assert "DIV2K_valid_HR.zip: [Errno 28] No space left" in capsys.readouterr().err
    assert (tmp_path / "DIV2K_valid_HR.zip").read_bytes() == whole[:70_000]


def test_what_cannot_start_ends_with_one_line(server, tmp_path, capsys):
    for options, message in (
        (["--address", "ftp://x"], "ADDRESS = 'ftp://x': expected http:// or https://"),
        (["--folder", "nowhere"], "FOLDER = 'nowhere': no such folder"),
    ):
        assert download_div2k.main(options) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "DIV2K_valid_HR").mkdir()
    assert download(server, tmp_path) == 1
    assert "DIV2K_valid_HR: 0 .png files; expected 3; move it away" in capsys.readouterr().err
