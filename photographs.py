"""Photographs ready to be cut: in memory, in a file that is mapped into it, or in turn.

Which of them follows from their size: `open_photographs`.
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
# Where photographs are there in turn: so many are in memory, and one is replaced by the next
# after so many steps.
MOST_RESIDENT, RESIDENT_BYTES = 128, 2**31
STEPS_PER_PHOTOGRAPH = 32
LOADED_AHEAD = 8
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

    is_in_turn = False

    def __init__(self, photographs, crop_size, where):
        self.where = where
        self.count = len(photographs)
        self._pool = Pool(photographs, crop_size)

    def at(self, step):
        """The `Pool` for a step."""
        return self._pool

    def close(self):
        """Nothing to end."""


class InTurn:
    """Photographs of which a part is in memory, each for a while; threads load the next.

    All are passed through in random order, again and again. Which ones are there follows
    from the seed and the step.

    Args:
        paths: the files.
        load: function from a path to its `Photograph`; may raise `UnreadablePicture`.
        resident: how many are there at once.
        on_skip: called with the path and the reason of a file that cannot be loaded, once.
        where: in words, where they come from.
        skipped: paths of which it is known that they cannot be loaded.
    """

    is_in_turn = True

    def __init__(self, paths, load, *, crop_size, seed, resident, on_skip, where, skipped=()):
        self.where = f"{where} in turn, {resident} at a time"
        self.paths = paths
        self.count = len(paths) - len(skipped)
        self.load = load
        self.crop_size = crop_size
        self.seed = seed
        self.resident = resident
        self.on_skip = on_skip
        self._skipped = set(skipped)
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor()
        self._loading = {}  # slot -> Future
        self._first = None  # slot of the first photograph in the pool
        self._pool = None

    def at(self, step):
        """The `Pool` for a step.

        Raises:
            ValueError: none of all photographs can be loaded.
        """
        first = step // STEPS_PER_PHOTOGRAPH
        if first != self._first:
            self._fill(first)
        return self._pool

    def _fill(self, first):
        is_start = self._first is None
        for start in itertools.count(first, self.resident):
            slots = range(start, start + self.resident)
            for slot in range(start, slots.stop + LOADED_AHEAD):
                if slot not in self._loading:
                    self._loading[slot] = self._workers.submit(self._load, slot)
            for slot in [s for s in self._loading if not start <= s < slots.stop + LOADED_AHEAD]:
                self._loading.pop(slot).cancel()
            there = tqdm(
                slots, "loading", unit="picture", delay=1, leave=False, disable=not is_start
            )
            there = [self._loading[slot].result() for slot in there]
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

    def _load(self, slot):
        path = self._path(slot)
        if path in self._skipped:
            return None
        try:
            photograph = self.load(path)
            height, width = photograph.hr.shape[:2]
            if min(height, width) < self.crop_size:  # replaced since it was surveyed
                raise utils.UnreadablePicture(f"{width}x{height} is smaller than a crop by now")
            return photograph
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


def _filled_cache(folder, source, sizes, scale):
    """A `Cache` that holds the photographs, and a dict of path -> reason of the others.

    Raises:
        OSError: there is no room for it, or it cannot be written.
    """
    cache = Cache(folder, source, scale)
    cache.open()
    missing = cache.missing_bytes(sizes)
    cache.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache.folder).free
    if missing > DISK_SHARE * free:
        raise OSError(
            errno.ENOSPC, f"it takes {missing / 1e9:.1f} GB, and {free / 1e9:.1f} are free"
        )
    skipped = cache.fill(list(sizes))
    cache.map()
    return cache, skipped


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


def open_photographs(
    sizes, *, source, scale, crop_size, seed, cache, free_memory, on_skip, in_turn=None
):
    """Makes photographs ready to be cut.

    A few are decoded into memory. More are decoded once into a file, from which the next start
    is fast: it is mapped into memory where that can hold it. Where it cannot, photographs are
    loaded from there in turn, a part of them at a time, because to read single crops from a
    disk is a hundred times as slow. Without room on the disk they are decoded into memory, or
    again and again in turn.

    Args:
        sizes: dict of path -> (height, width), as `survey` returns it.
        source: the folder that they are from.
        scale: reduction of the LR pictures.
        crop_size: side of a crop, HR pixels.
        seed: of the order in which they come in turn.
        cache: folder of the file; empty: no such file.
        free_memory: bytes.
        on_skip: called with the path and the reason of each file that cannot be decoded.
        in_turn: whether they come in turn, as a training that goes on has to have it;
            `None`: by their size.

    Returns:
        `AllAtOnce` or `InTurn`. The crops of a step depend on which of the two it is, and not
        on where the pixels are.

    Raises:
        ValueError: there is not one that can be decoded.
    """
    needed = sum(pixel_bytes(size, scale) for size in sizes.values())
    if in_turn is None:
        in_turn = needed > MEMORY_SHARE * free_memory
    file, skipped = None, {}
    if cache and needed > SMALL_BYTES:
        try:
            file, skipped = _filled_cache(cache, source, sizes, scale)
        except OSError as error:
            print(f"decoded photographs are not kept in {cache}: {error.strerror or error}")
    if not in_turn and not file and needed > MEMORY_SHARE * free_memory:
        print("not enough memory to go on as before: photographs come in turn, with other crops")
        in_turn = True
    for path, reason in skipped.items():
        on_skip(path, reason)
    if in_turn:
        largest = max(pixel_bytes(size, scale) for size in sizes.values())
        return InTurn(
            list(sizes),
            file.load if file else lambda path: decode(path, scale),
            crop_size=crop_size,
            seed=seed,
            resident=max(1, min(MOST_RESIDENT, len(sizes), RESIDENT_BYTES // largest)),
            on_skip=on_skip,
            where=f"loaded from {file.pixels}" if file else "decoded",
            skipped=skipped,
        )
    if file:
        where = f"in {file.pixels}"
        photographs = list(filter(None, map(file.view, sizes)))
    else:
        where = "in memory"
        photographs, skipped = _into_memory(list(sizes), scale)
        for path, reason in skipped.items():
            on_skip(path, reason)
    if not photographs:
        raise ValueError(f"none of {len(sizes)} pictures could be decoded")
    return AllAtOnce(photographs, crop_size, where)
