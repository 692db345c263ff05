import errno
import hashlib
import http.server
import io
import threading
import zipfile

import download_div2k
import pytest


def archive_of(name, count):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for n in range(count):
            archive.writestr(f"{name}/{n:04}.png", bytes([n]) * 50_000)
    return content.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `faults` are done one after another instead of all of a file."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.faults = []
        self.has_ranges = True
        self.asked = []  # (path, Range)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        fault = server.faults.pop(0) if server.faults else None
        content = server.files.get(self.path)
        if fault in ("429", "503") or content is None:
            self.send_error(int(fault or 404))
            return
        wanted = self.headers.get("Range")
        first = int(wanted[6:-1]) if wanted and server.has_ranges else 0
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first : first + 70_000] if fault == "cut" else content[first:])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on loopback with two small archives, in place of DIV2K's."""
    files, archives = {}, {}
    for name, count in (("DIV2K_valid_HR", 3), ("DIV2K_train_HR", 5)):
        content = files[f"/DIV2K/{name}.zip"] = archive_of(name, count)
        digest = hashlib.sha256(content).hexdigest()
        archives[name] = download_div2k.Archive(len(content), digest, count)
    monkeypatch.setattr(download_div2k, "ARCHIVES", archives)
    monkeypatch.setattr(download_div2k, "PAUSES", (0, 0))
    monkeypatch.setattr(download_div2k, "BLOCK", 2**14)
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


def test_photographs_are_fetched_unpacked_and_not_fetched_again(server, tmp_path, capsys):
    assert download(server, tmp_path) == 0
    assert names(tmp_path) == ALL
    assert (tmp_path / "DIV2K_train_HR/0004.png").read_bytes() == bytes([4]) * 50_000
    assert "DIV2K_train_HR: 5 photographs" in capsys.readouterr().out
    assert download(server, tmp_path) == 0
    assert "DIV2K_train_HR: there already" in capsys.readouterr().out
    assert len(server.asked) == 2


def test_archives_can_be_kept(server, tmp_path):
    assert download(server, tmp_path, "--keep-archives") == 0
    assert (tmp_path / "DIV2K_train_HR.zip").read_bytes() == server.files[
        "/DIV2K/DIV2K_train_HR.zip"
    ]


def test_broken_connection_goes_on_where_it_was(server, tmp_path):
    server.faults = ["cut", "429", "cut"]
    assert download(server, tmp_path) == 0
    assert names(tmp_path) == ALL
    assert [asked for _, asked in server.asked] == [
        None,
        "bytes=70000-",
        "bytes=70000-",
        "bytes=140000-",
        None,
    ]


def test_stopped_download_goes_on_where_it_was(server, tmp_path, monkeypatch, capsys):
    server.faults = ["cut", "503", "503", "503"]
    assert download(server, tmp_path) == 1
    assert "503" in capsys.readouterr().err
    assert names(tmp_path) == ["DIV2K_valid_HR.zip.part"]
    assert download(server, tmp_path) == 0
    assert ("/DIV2K/DIV2K_valid_HR.zip", "bytes=70000-") in server.asked
    assert names(tmp_path) == ALL


def test_server_without_ranges_sends_all_again(server, tmp_path):
    server.has_ranges = False
    server.faults = ["cut"]
    assert download(server, tmp_path) == 0
    assert names(tmp_path) == ALL


def test_wrong_content_is_deleted_and_named(server, tmp_path, capsys):
    path = "/DIV2K/DIV2K_valid_HR.zip"
    whole = server.files[path]
    server.files[path] = whole[:1000] + b"?" + whole[1001:]
    assert download(server, tmp_path) == 1
    error = capsys.readouterr().err
    assert "DIV2K_valid_HR.zip.part: SHA-256" in error
    assert hashlib.sha256(whole).hexdigest() in error
    assert names(tmp_path) == []
    server.files[path] = whole
    assert download(server, tmp_path) == 0


def test_other_archive_is_refused_before_it_is_fetched(server, tmp_path, capsys):
    server.files["/DIV2K/DIV2K_valid_HR.zip"] = b"<html>we have moved</html>"
    assert download(server, tmp_path) == 1
    assert "the server has 26 bytes; expected 150" in capsys.readouterr().err
    assert names(tmp_path) == []


def test_missing_archive_and_dead_server_are_named(server, tmp_path, capsys):
    del server.files["/DIV2K/DIV2K_valid_HR.zip"]
    assert download(server, tmp_path) == 1
    assert "the server says 404" in capsys.readouterr().err
    assert download_div2k.main(["--address", "http://127.0.0.1:9", "--folder", str(tmp_path)]) == 1
    assert "Connection refused" in capsys.readouterr().err


def test_full_disk_is_said_before(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        download_div2k.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000})
    )
    assert download(server, tmp_path) == 1
    assert "0.0 are free" in capsys.readouterr().err
    assert server.asked == []


def test_disk_that_fills_up_is_named(server, tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download_div2k, "receive", fail)
    assert download(server, tmp_path) == 1
    assert "DIV2K_valid_HR.zip.part: [Errno 28] No space left" in capsys.readouterr().err


def test_archive_of_the_user_is_not_deleted(server, tmp_path, capsys):
    archive = tmp_path / "DIV2K_valid_HR.zip"
    archive.write_bytes(b"mine")
    assert download(server, tmp_path) == 1
    assert "DIV2K_valid_HR.zip: SHA-256" in capsys.readouterr().err
    assert archive.read_bytes() == b"mine"


def test_killed_unpacking_is_done_again(server, tmp_path):
    unfinished = tmp_path / ".unpacking-DIV2K_valid_HR" / "DIV2K_valid_HR"
    unfinished.mkdir(parents=True)
    (unfinished / "0001.png").write_text("half")
    assert download(server, tmp_path) == 0
    assert names(tmp_path) == ALL


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--address", "ftp://x"], "ADDRESS = 'ftp://x': expected http:// or https://"),
        (["--folder", "nowhere"], "FOLDER = 'nowhere': no such folder"),
    ],
)
def test_wrong_setting_ends_with_one_line(capsys, options, message):
    assert download_div2k.main(options) == 2
    assert message in capsys.readouterr().err
