"""Photographs ready to be cut: in memory, in a file that is mapped into it, or decoded in turn.

Which of the three follows from their size: `open_photographs`.
"""

import contextlib
import errno
import itertools
import json
import os
import shutil
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
from tqdm import tqdm

import utils
from crops import Photograph, Pool

# Fewer bytes are decoded anew at every start, in a few seconds, and not kept in a file.
SMALL_BYTES = 2**28
MEMORY_SHARE, DISK_SHARE = 0.5, 0.9  # of what is free, that photographs may take
# Where photographs are decoded in turn: so many are in memory, and one is replaced by the
# next after so many steps.
MOST_RESIDENT, RESIDENT_BYTES = 128, 2**31
STEPS_PER_PHOTOGRAPH = 32
DECODED_AHEAD = 8
INDEX_SECONDS = 30  # between savings of what the cache holds, while it is filled
MARGIN = 16  # LR pixels that are reduced with the centre of a picture and thrown away


def decode(path, scale):
    """Reads a photograph, cropped to a multiple of the scale, and makes its LR picture.

    Raises:
        UnreadablePicture: with the reason.
    """
    hr = np.ascontiguousarray(utils.crop_to_multiple(utils.read_rgb(path), scale))
    return Photograph(utils.downscale(hr, scale), hr)


def decode_centre(path, scale, size):
    """As `decode`, but of the central `size` x `size` HR pixels, or all where it is smaller."""
    hr = utils.crop_to_multiple(utils.read_rgb(path), scale)
    wide, inner = [], []  # in LR pixels: the centre with a margin, and the centre in that
    for length in hr.shape[:2]:
        length //= scale
        kept = min(length, size // scale)
        start = (length - kept) // 2
        first, last = max(0, start - MARGIN), min(length, start + kept + MARGIN)
        wide.append(slice(first * scale, last * scale))
        inner.append(slice(start - first, start - first + kept))
    hr = hr[*wide]
    lr = utils.downscale(hr, scale)[*inner]
    hr = hr[*(slice(scale * part.start, scale * part.stop) for part in inner)]
    return Photograph(lr.copy(), hr.copy())  # without the rest of the picture


def in_order(function, items, ahead=None):
    """Yields (item, function(item)) in the order of `items`; threads compute some ahead.

    An `UnreadablePicture` that `function` raises is yielded in place of its result.
    """

    def attempt(item):
        try:
            return function(item)
        except utils.UnreadablePicture as error:
            return error

    items = iter(items)
    with ThreadPoolExecutor() as workers:
        waiting = deque()
        for item in itertools.islice(items, ahead or 2 * (os.cpu_count() or 1)):
            waiting.append((item, workers.submit(attempt, item)))
        try:
            while waiting:
                item, result = waiting.popleft()
                yield item, result.result()
                for item in itertools.islice(items, 1):
                    waiting.append((item, workers.submit(attempt, item)))
        finally:
            for _, result in waiting:
                result.cancel()


def survey(paths, smallest):
    """Looks at the headers of pictures.

    Args:
        paths: the files.
        smallest: height and width that a picture must have at least.

    Returns:
        dict of path -> (height, width) of what seems usable, and a dict of path -> reason
        of the rest.
    """
    sizes, skipped = {}, {}
    headers = in_order(utils.picture_size, paths)
    for path, size in tqdm(headers, "looking", len(paths), unit="picture", delay=1, leave=False):
        if isinstance(size, utils.UnreadablePicture):
            skipped[path] = str(size)
        elif min(size) < smallest:
            skipped[path] = f"{size[1]}x{size[0]} is smaller than {smallest}x{smallest}"
        else:
            sizes[path] = size
    return sizes, skipped


def pixel_bytes(size, scale):
    """Bytes of a photograph of (height, width) HR pixels and of its LR picture."""
    height, width = (length // scale for length in size)
    return 3 * height * width * (scale**2 + 1)


class AllAtOnce:
    """Photographs that are all there, in memory or in a file that is mapped into it."""

    def __init__(self, photographs, crop_size, where):
        self.where = where
        self._pool = Pool(photographs, crop_size)

    def at(self, step):
        """The `Pool` for a step."""
        return self._pool

    def close(self):
        """Nothing to end."""


class InTurn:
    """Photographs of which a part is in memory, each for a while; threads decode the next.

    All are passed through in random order, again and again. Which ones are there follows
    from the seed and the step.

    Args:
        paths: the files.
        resident: how many are there at once.
        on_skip: called with the path and the reason of a file that cannot be decoded, once.
    """

    def __init__(self, paths, *, scale, crop_size, seed, resident, on_skip):
        self.where = f"decoded in turn, {resident} at a time"
        self.paths = paths
        self.scale = scale
        self.crop_size = crop_size
        self.seed = seed
        self.resident = resident
        self.on_skip = on_skip
        self._skipped = set()
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor()
        self._decoding = {}  # slot -> Future
        self._first = None  # slot of the first photograph in the pool
        self._pool = None

    def at(self, step):
        """The `Pool` for a step.

        Raises:
            ValueError: none of all photographs can be decoded.
        """
        first = step // STEPS_PER_PHOTOGRAPH
        if first != self._first:
            self._fill(first)
        return self._pool

    def _fill(self, first):
        is_start = self._first is None
        for start in itertools.count(first, self.resident):
            slots = range(start, start + self.resident)
            for slot in range(start, slots.stop + DECODED_AHEAD):
                if slot not in self._decoding:
                    self._decoding[slot] = self._workers.submit(self._decode, slot)
            for slot in [s for s in self._decoding if s < start]:
                self._decoding.pop(slot).cancel()
            there = tqdm(
                slots, "decoding", unit="picture", delay=1, leave=False, disable=not is_start
            )
            there = [self._decoding[slot].result() for slot in there]
            there = [photograph for photograph in there if photograph]
            if there:
                self._first, self._pool = first, Pool(there, self.crop_size)
                return
            if len(self._skipped) == len(self.paths):
                raise ValueError(f"none of {len(self.paths)} pictures could be decoded")

    def _path(self, slot):
        turn, place = divmod(slot, len(self.paths))
        order = np.random.default_rng((self.seed, turn)).permutation(len(self.paths))
        return self.paths[order[place]]

    def _decode(self, slot):
        path = self._path(slot)
        if path in self._skipped:
            return None
        try:
            return decode(path, self.scale)
        except utils.UnreadablePicture as error:
            with self._lock:
                if path not in self._skipped:
                    self._skipped.add(path)
                    self.on_skip(path, str(error))
            return None

    def close(self):
        """Ends the threads."""
        self._workers.shutdown(cancel_futures=True)


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
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            entries = json.loads(self.index.read_text())["photographs"]
            end = max((self._end(entry) for entry in entries.values()), default=0)
            if end <= self.pixels.stat().st_size:
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
            OSError: the disk is full, or cannot be written to; what it holds stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with utils.locked(self.pixels.with_suffix(".lock")):
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
                return self._state(path), decode(path, self.scale)
            except OSError as error:
                raise utils.UnreadablePicture(str(error)) from error

        with open(self.pixels, "r+b") as file:
            try:
                file.seek(end)
                saved = time.monotonic()
                decoded = in_order(load, paths)
                for path, result in tqdm(decoded, "decoding", len(paths), unit="picture"):
                    if isinstance(result, utils.UnreadablePicture):
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
            except OSError:
                self.open()
                with contextlib.suppress(OSError):
                    file.truncate(max((self._end(e) for e in self.entries.values()), default=0))
                raise
        return skipped

    def _save(self, file):
        """Writes the index, after the pixels that it speaks of have reached the disk."""
        file.flush()
        os.fsync(file.fileno())
        with utils.replacing(self.index) as part:
            part.write_text(json.dumps({"photographs": self.entries}))

    def photographs(self, paths):
        """Those of `paths` that it holds, as a list of `Photograph`: views of the mapped file."""
        # A plain array: slices of np.memmap are slow.
        pixels = np.asarray(np.memmap(self.pixels, np.uint8, "r"))
        photographs = []
        for entry in filter(None, map(self.find, paths)):
            height, width = (length // self.scale for length in entry["size"])
            middle = entry["offset"] + 3 * height * width
            lr = pixels[entry["offset"] : middle].reshape(height, width, 3)
            hr = pixels[middle : self._end(entry)]
            hr = hr.reshape(height * self.scale, width * self.scale, 3)
            photographs.append(Photograph(lr, hr))
        return photographs


def _from_cache(sizes, cache):
    """The photographs of a cache, which is filled before, and a dict of path -> reason.

    Raises:
        OSError: there is no room for it, or it cannot be written.
    """
    cache.open()
    missing = cache.missing_bytes(sizes)
    cache.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache.folder).free
    if missing > DISK_SHARE * free:
        raise OSError(
            errno.ENOSPC, f"it takes {missing / 1e9:.1f} GB, and {free / 1e9:.1f} are free"
        )
    skipped = cache.fill(list(sizes))
    return cache.photographs(sizes), skipped


def _into_memory(paths, scale):
    """The photographs that can be decoded, and a dict of path -> reason of the others."""
    photographs, skipped = [], {}
    decoded = in_order(lambda path: decode(path, scale), paths)
    for path, result in tqdm(decoded, "decoding", len(paths), unit="picture"):
        if isinstance(result, utils.UnreadablePicture):
            skipped[path] = str(result)
        else:
            photographs.append(result)
    return photographs, skipped


def open_photographs(sizes, *, source, scale, crop_size, seed, cache, free_memory, on_skip):
    """Makes photographs ready to be cut.

    A few are decoded into memory. More are decoded once into a file that is mapped into
    memory: the next start is fast, and they may be more than memory holds. Where the disk
    has no room for that, they are decoded into memory after all, and where that has none
    either, in turn, again and again.

    Args:
        sizes: dict of path -> (height, width), as `survey` returns it.
        source: the folder that they are from.
        scale: reduction of the LR pictures.
        crop_size: side of a crop, HR pixels.
        seed: of the order in which they are decoded in turn.
        cache: folder of the file; empty: no such file.
        free_memory: bytes.
        on_skip: called with the path and the reason of each file that cannot be decoded.

    Returns:
        `AllAtOnce` or `InTurn`.

    Raises:
        ValueError: there is not one that can be decoded.
    """
    needed = sum(pixel_bytes(size, scale) for size in sizes.values())
    photographs = None
    if cache and needed > SMALL_BYTES:
        try:
            file = Cache(cache, source, scale)
            photographs, skipped = _from_cache(sizes, file)
            where = f"in {file.pixels}"
        except OSError as error:
            print(f"decoded photographs are not kept in {cache}: {error.strerror or error}")
    if photographs is None and needed > MEMORY_SHARE * free_memory:
        largest = max(pixel_bytes(size, scale) for size in sizes.values())
        resident = max(1, min(MOST_RESIDENT, len(sizes), RESIDENT_BYTES // largest))
        return InTurn(
            list(sizes),
            scale=scale,
            crop_size=crop_size,
            seed=seed,
            resident=resident,
            on_skip=on_skip,
        )
    if photographs is None:
        photographs, skipped = _into_memory(list(sizes), scale)
        where = "in memory"
    for path, reason in skipped.items():
        on_skip(path, reason)
    if not photographs:
        raise ValueError(f"none of {len(sizes)} pictures could be decoded")
    return AllAtOnce(photographs, crop_size, where)
