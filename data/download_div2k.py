"""Fetches DIV2K, the 800 photographs that super-resolution is usually trained on, and 100 more.

`python data/download_div2k.py` fetches DIV2K_train_HR.zip (3.5 GB) and DIV2K_valid_HR.zip
(0.4 GB) into data/, checks them, and unpacks them there into folders of the same names.
Interrupted, it goes on where it was. DIV2K is free for research only, see its page:
https://data.vision.ee.ethz.ch/cvl/DIV2K/

Exit code 0: the photographs are there. 1: they could not be fetched. 2: wrong settings. 130:
stopped by Ctrl-C.
"""

import errno
import hashlib
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from superres.runtime import command, settings
from superres.runtime.errors import Failed, InputError, is_machine_error

# ------------------------------------------------------------------- settings ----
ADDRESS = "https://data.vision.ee.ethz.ch/cvl/DIV2K"  # where the archives lie
FOLDER = ""  # where to put the photographs; empty: data/, where this script is
KEEP_ARCHIVES = False  # keep the .zip files after they are unpacked
# ---------------------------------------------------------------------------------


class Archive(NamedTuple):
    """An archive: bytes, SHA-256 and number of photographs."""

    size: int
    sha256: str
    count: int


# Sizes and checksums are those that TensorFlow Datasets publishes.
ARCHIVES = {
    "DIV2K_valid_HR": Archive(
        448_993_893, "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc", 100
    ),
    "DIV2K_train_HR": Archive(
        3_530_603_713, "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335", 800
    ),
}
BLOCK = 2**20
TIMEOUT_SECONDS = 60
PAUSES = (1, 5, 30, 60)  # seconds before the next attempts, where nothing arrived
# All other errors are taken for the network's.
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EACCES}


def receive(url, part, size, bar):
    """Appends to `part` what is missing of `size` bytes, as far as the connection lasts."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        if done and response.status != 206:  # a server that always sends all
            done = 0
        total = done + int(response.headers.get("Content-Length", size - done))
        if total != size:
            raise Failed(f"{url}: the server has {total:,} bytes; expected {size:,}")
        bar.n = done
        bar.refresh()
        with open(part, "ab" if done else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))


def fetch(url, path, archive):
    """Fetches an archive to `path`; `<path>.part` keeps what has arrived until it is whole."""
    part = path.with_name(path.name + ".part")
    if part.exists() and part.stat().st_size > archive.size:
        part.unlink()
    pauses = iter(PAUSES)
    with tqdm(
        total=archive.size, desc=path.name, unit="B", unit_scale=True, unit_divisor=1024
    ) as bar:
        while (before := part.stat().st_size if part.exists() else 0) < archive.size:
            error = ConnectionError("the connection ended early")
            try:
                receive(url, part, archive.size, bar)
            except urllib.error.HTTPError as answer:
                if answer.code < 500 and answer.code not in (408, 429):  # too slow, too often
                    raise Failed(f"{url}: the server says {answer.code} {answer.msg}") from None
                error = answer
            except (http.client.HTTPException, OSError) as failure:
                if getattr(failure, "errno", None) in DISK_ERRORS:
                    raise Failed(f"{part}: {failure}") from failure
                error = failure
            arrived = part.stat().st_size if part.exists() else 0
            if arrived > before:
                pauses = iter(PAUSES)
            elif (pause := next(pauses, None)) is None:
                raise Failed(f"{url}: {error}; the same command goes on from here")
            else:
                tqdm.write(f"{url}: {error}; trying again in {pause} s")
                time.sleep(pause)
    try:
        check(part, archive)
    except Failed:
        part.unlink()  # or the next attempt would go on with it
        raise
    os.replace(part, path)


def check(path, archive):
    """Raises Failed where the checksum of an archive is wrong."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != archive.sha256:
        raise Failed(f"{path}: SHA-256 {digest}, expected {archive.sha256}; fetch it anew")


def unpack(path, folder, name):
    """Unpacks an archive to `folder/name`, which appears when it is whole."""
    unfinished = folder / f".unpacking-{name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with zipfile.ZipFile(path) as archive:
            for member in tqdm(archive.infolist(), f"unpacking {name}", unit="file"):
                archive.extract(member, unfinished)
        os.replace(unfinished / name, folder / name)
    except (zipfile.BadZipFile, FileNotFoundError) as error:
        raise Failed(f"{path}: {error}; expected a folder {name} in it") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def download(address, folder, keep_archives=False):
    """Fetches and unpacks all archives that are not there yet."""
    for name, archive in ARCHIVES.items():
        if len(list((folder / name).glob("*.png"))) == archive.count:
            print(f"{folder / name}: there already")
            continue
        if (folder / name).exists():
            raise Failed(
                f"{folder / name}: is there, but without {archive.count} .png files; move it away"
            )
        path = folder / f"{name}.zip"
        if path.exists():
            check(path, archive)
        else:
            part = path.with_name(path.name + ".part")
            missing = 2 * archive.size - (part.stat().st_size if part.exists() else 0)
            if missing > (free := shutil.disk_usage(folder).free):
                raise Failed(
                    f"{folder}: {name} takes {missing / 1e9:.1f} GB more, with its unpacked "
                    f"photographs; {free / 1e9:.1f} are free"
                )
            fetch(f"{address.rstrip('/')}/{name}.zip", path, archive)
        unpack(path, folder, name)
        if not keep_archives:
            path.unlink()
        print(f"{folder / name}: {archive.count} photographs")


def work(chosen, stop):
    """Fetches the photographs; returns the exit code."""
    settings.check_text("address", chosen.address)
    settings.check_text("folder", chosen.folder, may_be_empty=True)
    folder = Path(chosen.folder) if chosen.folder else Path(__file__).resolve().parent
    settings.check_flag("keep_archives", chosen.keep_archives)
    if not chosen.address.startswith(("http://", "https://")):
        raise InputError(f"ADDRESS = {chosen.address!r}: expected http:// or https://")
    if not folder.is_dir():
        raise InputError(f"FOLDER = {chosen.folder!r}: no such folder")
    try:
        download(chosen.address, folder, chosen.keep_archives)
    except OSError as error:
        if not is_machine_error(error):
            raise
        raise Failed(error) from error
    return 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    return command.run(work, [__name__], arguments, hint="the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
