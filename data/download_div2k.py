"""Fetches DIV2K, the usual photographs to train super-resolution on, and unpacks it into data/.

DIV2K_valid_HR has 100 photographs (0.4 GB), DIV2K_train_HR 800 (3.5 GB), for research only, see
https://data.vision.ee.ethz.ch/cvl/DIV2K/. After an interruption the same command continues.
Exit code 0: done. 1: they could not be fetched. 2: wrong settings. 130: Ctrl-C.
"""

import hashlib
import http.client
import shutil
import sys
import urllib.request
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from superres.runtime import command
from superres.runtime.errors import Failed, InputError

# ------------------------------------------------------------------- settings ----
ADDRESS = "https://data.vision.ee.ethz.ch/cvl/DIV2K"  # of the archives
FOLDER = ""  # for the photographs; empty: data/, with this script
KEEP_ARCHIVES = False  # keep the .zip files
# ---------------------------------------------------------------------------------

ARCHIVES = {  # photographs, bytes, and SHA-256, as in TensorFlow Datasets
    "valid": (100, 448993893, "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc"),
    "train": (800, 3530603713, "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335"),
}


def fetch(url, path, size):
    """Downloads the missing bytes of a file of `size` bytes."""
    done = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response, open(path, "ab") as file:
            done = done if response.status == 206 else 0  # other servers send the whole file
            if (total := done + int(response.headers.get("Content-Length", size - done))) != size:
                raise Failed(f"{url}: {total:,} bytes; expected {size:,}")
            file.truncate(done)
            with tqdm.wrapattr(response, "read", size, desc=path.name, initial=done) as stream:
                shutil.copyfileobj(stream, file, 2**20)
            if file.tell() < size:
                raise ConnectionError(f"only {file.tell():,} of {size:,} bytes arrived")
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{url} to {path}: {error}; run the same command to continue") from error


def work(config, stop):
    """Fetches the photographs; returns the exit code."""
    if not config.address.startswith(("http://", "https://")):
        raise InputError(f"ADDRESS = {config.address!r}: expected http:// or https://")
    folder = Path(config.folder or Path(__file__).resolve().parent)
    if not folder.is_dir():
        raise InputError(f"FOLDER = {config.folder!r}: no such folder")
    for part, (count, size, sha256) in ARCHIVES.items():
        target, unpacking = folder / f"DIV2K_{part}_HR", folder / f".unpacking_{part}"
        archive = target.with_suffix(".zip")
        if not target.exists():
            if not archive.exists() or archive.stat().st_size < size:
                fetch(f"{config.address.rstrip('/')}/{archive.name}", archive, size)
            with open(archive, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != sha256:
                raise Failed(f"{archive}: SHA-256 {digest}, expected {sha256}; delete it")
            shutil.unpack_archive(archive, unpacking)
            (unpacking / target.name).replace(target)
            unpacking.rmdir()
            if not config.keep_archives:
                archive.unlink()
        if (found := len(list(target.glob("*.png")))) != count:
            raise Failed(f"{target}: {found} .png files; expected {count}; move it away")
        print(f"{target}: {count} photographs")
    return 0


def main(arguments=None):
    """Runs the command; returns its exit code."""
    return command.run(work, [__name__], arguments, hint="run the same command to continue")


if __name__ == "__main__":
    sys.exit(main())
