"""Decoded photographs in one file, which is mapped into memory."""

import contextlib
import errno
import json
import os
import shutil
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
from tqdm import tqdm

from superres.dataset.crops import Photograph
from superres.images.read import read_rgb
from superres.images.resize import crop_to_multiple, downscale
from superres.runtime.errors import InputError, UnreadablePicture
from superres.runtime.files import locked, make_folder, replacing
from superres.runtime.prefetch import in_order

MEMORY_SHARE, DISK_SHARE = 0.5, 0.9  # of what is free, that photographs may take
INDEX_SECONDS = 30  # between savings of what the cache holds, while it is filled


def decode(path, scale):
    """Reads a photograph, cropped to a multiple of the scale, and makes its LR picture.

    Raises:
        UnreadablePicture: with the reason.
    """
    hr = np.ascontiguousarray(crop_to_multiple(read_rgb(path), scale))
    return Photograph(downscale(hr, scale), hr)


def pixel_bytes(size, scale):
    """Bytes of a photograph of (height, width) HR pixels and of its LR picture."""
    height, width = (length // scale for length in size)
    return 3 * height * width * (scale**2 + 1)


class Cache:
    """Decoded photographs in one file, which is mapped into memory.

    `<name>.pixels` holds them one after another, the LR picture before the HR picture,
    `<name>.json` where each lies and of which state of its file it is. What is in the one
    is never changed, only added to, so that several trainings can use it at once.

    Args:
        folder: where to keep it.
        source: folder of the photographs; each has a cache of its own for every scale.
        scale: reduction of the LR pictures.
    """

    def __init__(self, folder, source, scale):
        self.scale = scale
        self.folder = Path(folder)
        place = sha256(os.path.realpath(source).encode(errors="surrogateescape"))
        self.pixels = self.folder / f"x{scale}-{place.hexdigest()[:12]}.pixels"
        self.index = self.pixels.with_suffix(".json")
        self.entries = {}

    def open(self):
        """Reads what it holds; nothing, where it is missing or damaged."""
        self.entries = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            entries = json.loads(self.index.read_text())["photographs"]
            end = max((self._end(entry) for entry in entries.values()), default=0)
            if (
                all(len(entry["file"]) == 2 for entry in entries.values())
                and end <= self.pixels.stat().st_size
            ):
                self.entries = entries

    def _end(self, entry):
        return entry["offset"] + pixel_bytes(entry["size"], self.scale)

    def _state(self, path):
        status = os.stat(path)
        return [status.st_size, status.st_mtime_ns]

    def find(self, path):
        """The entry of a file that is held as it is now; else `None`."""
        entry = self.entries.get(os.path.realpath(path))
        try:
            return entry if entry and entry["file"] == self._state(path) else None
        except OSError:
            return None

    def missing_bytes(self, sizes):
        """Bytes that photographs, a dict of path -> (height, width), would add."""
        return sum(
            pixel_bytes(size, self.scale) for path, size in sizes.items() if not self.find(path)
        )

    def fill(self, paths):
        """Decodes what it does not hold yet.

        Returns:
            dict of path -> reason of the files that cannot be decoded.

        Raises:
            OSError, InputError: it cannot be written; what it holds stays.
        """
        make_folder(self.folder)
        with locked(self.pixels.with_suffix(".lock")):
            self.open()  # what another run has added
            held = [entry for path in paths if (entry := self.find(path))]
            used = sum(self._end(entry) - entry["offset"] for entry in held)
            end = max((self._end(entry) for entry in self.entries.values()), default=0)
            if not self.entries or 2 * used < end:  # mostly of pictures that are gone
                self.pixels.unlink(missing_ok=True)
                self.pixels.touch()
                self.entries, end = {}, 0
            missing = [path for path in paths if not self.find(path)]
            return self._add(missing, end) if missing else {}

    def _add(self, paths, end):
        skipped = {}

        def load(path):
            try:
                state = self._state(path)
            except OSError as error:
                raise UnreadablePicture(str(error)) from error
            return state, decode(path, self.scale)

        with open(self.pixels, "r+b") as file:
            try:
                file.seek(end)
                saved = time.monotonic()
                decoded = in_order(load, paths, UnreadablePicture)
                for path, result in tqdm(decoded, "decoding", len(paths), unit="picture"):
                    if isinstance(result, UnreadablePicture):
                        skipped[path] = str(result)
                        continue
                    state, photograph = result
                    size = photograph.hr.shape[:2]
                    entry = {"file": state, "offset": file.tell(), "size": size}
                    file.write(photograph.lr)
                    file.write(photograph.hr)
                    self.entries[os.path.realpath(path)] = entry
                    if time.monotonic() - saved > INDEX_SECONDS:
                        self._save(file)
                        saved = time.monotonic()
                self._save(file)
            except (InputError, OSError):
                self.open()
                with contextlib.suppress(OSError):
                    file.truncate(max((self._end(e) for e in self.entries.values()), default=0))
                raise
        return skipped

    def _save(self, file):
        """Writes the index, after the pixels that it speaks of have reached the disk."""
        file.flush()
        os.fsync(file.fileno())
        with replacing(self.index) as part:
            part.write_text(json.dumps({"photographs": self.entries}))

    def map(self):
        """Maps the file of the pixels into memory."""
        if self.entries:  # an empty file cannot be mapped
            # A plain array: slices of np.memmap are slow.
            self._mapped = np.asarray(np.memmap(self.pixels, np.uint8, "r"))

    def view(self, path):
        """The `Photograph` of a file, in the mapped memory; `None` where it is not held."""
        entry = self.find(path)
        if not entry:
            return None
        height, width = (length // self.scale for length in entry["size"])
        middle = entry["offset"] + 3 * height * width
        lr = self._mapped[entry["offset"] : middle].reshape(height, width, 3)
        hr = self._mapped[middle : self._end(entry)]
        return Photograph(lr, hr.reshape(height * self.scale, width * self.scale, 3))

    def load(self, path):
        """The `Photograph` of a file, read into memory as a whole; decoded if it is not held.

        Raises:
            UnreadablePicture: with the reason.
        """
        view = self.view(path)
        return Photograph(*map(np.array, view)) if view else decode(path, self.scale)


def filled_cache(folder, source, sizes, scale):
    """A `Cache` that holds the photographs, and a dict of path -> reason of the others."""
    cache = Cache(folder, source, scale)
    cache.open()
    missing = cache.missing_bytes(sizes)
    make_folder(cache.folder)
    free = shutil.disk_usage(cache.folder).free
    if missing > DISK_SHARE * free:
        raise OSError(
            errno.ENOSPC, f"it takes {missing / 1e9:.1f} GB, and {free / 1e9:.1f} are free"
        )
    skipped = cache.fill(list(sizes))
    cache.map()
    return cache, skipped
