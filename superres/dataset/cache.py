"""Decoded photographs on disk, each in a file of its own that never changes."""

import contextlib
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
from superres.runtime.files import make_folder, remove_stale_files, replacing
from superres.runtime.prefetch import in_order

DISK_SHARE = 0.9  # of the free space, for photographs
UNUSED_SECONDS = 30 * 24 * 60 * 60  # then a photograph is removed
NAMES = "x[0-9]-" + 32 * "[0-9a-f]" + ".npy"
OLD_NAMES = "x[0-9]-" + 12 * "[0-9a-f]" + ".*"  # of earlier versions


def decode(path, scale):
    """The `Photograph` of a file, cropped to a multiple of the scale; reads and reduces it."""
    hr = np.ascontiguousarray(crop_to_multiple(read_rgb(path), scale))
    return Photograph(downscale(hr, scale), hr)


def pixel_bytes(size, scale):
    """Bytes of HR and LR together, for `size` (height, width) of HR."""
    height, width = (length // scale for length in size)
    return 3 * height * width * (scale**2 + 1)


class Cache:
    """A folder of decoded photographs, which several runs may fill and use at the same time."""

    def __init__(self, folder, scale):
        self.folder, self.scale = Path(folder), scale

    def fill(self, sizes):
        """Decodes those of `sizes` (path -> height, width) that it lacks; returns errors."""
        make_folder(self.folder)
        missing = [path for path in sizes if not self._file(path).exists()]
        self._remove_unused()
        needed = sum(pixel_bytes(sizes[path], self.scale) for path in missing)
        free = shutil.disk_usage(self.folder).free
        if needed > DISK_SHARE * free:
            raise InputError(f"{needed / 1e9:.1f} GB are too much for {free / 1e9:.1f} free ones")
        results = in_order(self._add, missing, UnreadablePicture)
        bar = tqdm(results, "decoding", len(missing), unit="picture", disable=not missing)
        return {path: str(error) for path, error in bar if error}

    def view(self, path):
        """The `Photograph` of a file, mapped into memory; if it is not in the cache, decoded."""
        with contextlib.suppress(OSError, ValueError):
            # A plain array: slices of np.memmap are slow.
            pixels = np.asarray(np.lib.format.open_memmap(self._file(path), mode="r"))
            height, width = (self.scale * length for length in pixels.shape[1:3])
            return Photograph(pixels[0], pixels[1:].reshape(height, width, 3))
        return decode(path, self.scale)

    def load(self, path):
        """As `view`, but read into memory."""
        lr, hr, _ = self.view(path)
        return Photograph(lr.copy(), hr.copy())

    def _file(self, path):
        """The cache file of a photograph in its present state; marks it as in use."""
        state = None  # of a photograph that is gone; decoding will say so
        with contextlib.suppress(OSError):
            status = os.stat(path)
            state = status.st_size, status.st_mtime_ns
        digest = sha256(repr((os.path.realpath(path), state)).encode()).hexdigest()
        file = self.folder / f"x{self.scale}-{digest[:32]}.npy"
        with contextlib.suppress(OSError):
            os.utime(file)
        return file

    def _add(self, path):
        file = self._file(path)  # first: the photograph may change while it is decoded
        lr, hr, _ = decode(path, self.scale)
        with replacing(file) as part:
            np.save(part, np.concatenate([lr[None], hr.reshape(-1, *lr.shape)]))

    def _remove_unused(self):
        remove_stale_files(self.folder)
        if old := list(self.folder.glob(OLD_NAMES)):
            print(f"{self.folder}: removing the cache of an earlier version")
        for file in [*old, *self.folder.glob(NAMES)]:
            with contextlib.suppress(OSError):  # another run may remove it at the same time
                if file in old or time.time() - file.stat().st_mtime > UNUSED_SECONDS:
                    file.unlink()
