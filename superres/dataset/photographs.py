"""Photographs to cut crops from: all in memory or mapped; or a few at a time, by turns."""

import functools
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from superres.dataset.cache import Cache, decode, pixel_bytes
from superres.dataset.crops import CropSampler
from superres.runtime.errors import InputError, UnreadablePicture, is_fault
from superres.runtime.prefetch import in_order

MEMORY_SHARE = 0.5  # of free memory, for photographs
SMALL_BYTES = 2**28  # below, no cache: all are decoded at every start, in a few seconds
MAX_MAPPED = 2**15  # files; Linux allows 65,530 mappings
MAX_POOL, MAX_POOL_BYTES = 128, 2**31  # photographs in memory, of those that take turns
STEPS_PER_PHOTOGRAPH = 32  # then the oldest makes room for the next
LOADED_AHEAD = 8
NONE_READABLE = (
    "none of the {} pictures to train on could be decoded; expected at least two readable ones in "
    "DATA, one of them to validate on, or one in DATA and one in VALIDATION_DATA"
)


class Resident:
    """All photographs, in memory or in files mapped into it."""

    rotates = False

    def __init__(self, photographs, crop_size, where):
        self.count, self.where = len(photographs), where
        self._pool = CropSampler(photographs, crop_size)

    def at(self, step):
        """The `CropSampler` for a step."""
        return self._pool

    def close(self):
        """Does nothing; `Rotating` ends its threads."""


class Rotating:
    """A few photographs at a time, by turns, without an end: the seed sets the order of each turn.

    Threads load the next ones; a slot is a number in this order.
    """

    rotates = True

    def __init__(self, sizes, options, *, cache, on_skip, skipped):
        self.paths, self.options, self.on_skip = list(sizes), options, on_skip
        self.count = len(sizes) - len(skipped)
        largest = max(pixel_bytes(size, options.scale) for size in sizes.values())
        self.at_a_time = max(1, min(MAX_POOL, len(sizes), MAX_POOL_BYTES // largest))
        self.load = cache.load if cache else functools.partial(decode, scale=options.scale)
        source = f"loaded from {cache.folder}" if cache else "decoded"
        self.where = f"{source}, {self.at_a_time} at a time"
        self._skipped, self._lock = set(skipped), threading.Lock()
        self._workers = ThreadPoolExecutor()
        self._loading = {}  # slot -> Future
        self._first = self._pool = None  # slot of the first photograph in the pool

    def at(self, step):
        """The `CropSampler` for a step; raises InputError if no photograph can be loaded."""
        if self._first != (first := step // STEPS_PER_PHOTOGRAPH):
            self._fill(first)
        return self._pool

    def _fill(self, first):
        for start in itertools.count(first, self.at_a_time):
            slots = range(start, start + self.at_a_time)
            wanted = set(range(start, slots.stop + LOADED_AHEAD))
            for slot in self._loading.keys() - wanted:
                self._loading.pop(slot).cancel()
            for slot in sorted(wanted - self._loading.keys()):
                self._loading[slot] = self._workers.submit(self._load, slot)
            is_quiet = self._first is not None  # train.py shows its own bar by now
            bar = tqdm(slots, "loading", unit="picture", delay=1, leave=False, disable=is_quiet)
            photographs = list(filter(None, (self._loading[slot].result() for slot in bar)))
            if photographs:
                self._first, self._pool = first, CropSampler(photographs, self.options.crop_size)
                return
            if len(self._skipped) == len(self.paths):
                raise InputError(NONE_READABLE.format(len(self.paths)))

    def _load(self, slot):
        """The `Photograph` of a slot; `None` if it cannot be used."""
        turn, place = divmod(slot, len(self.paths))
        order = np.random.default_rng((self.options.seed, turn)).permutation(len(self.paths))
        path = self.paths[order[place]]
        if path in self._skipped:
            return None
        try:
            photograph = self.load(path)
            height, width = photograph.hr.shape[:2]
            if min(height, width) < self.options.crop_size:  # the file has been replaced
                raise UnreadablePicture(f"{width}x{height} is smaller than a crop by now")
            return photograph
        except UnreadablePicture as error:
            with self._lock:
                if path not in self._skipped:
                    self._skipped.add(path)
                    self.on_skip(path, str(error))
            return None

    def close(self):
        """Ends the threads."""
        self._workers.shutdown(cancel_futures=True)


def _into_memory(paths, scale):
    """Decoded photographs, and a dict of path -> reason of bad ones."""
    results = in_order(lambda path: decode(path, scale), paths, UnreadablePicture)
    results = dict(tqdm(results, "decoding", len(paths), unit="picture"))
    skipped = {path: str(r) for path, r in results.items() if isinstance(r, UnreadablePicture)}
    return [results[path] for path in paths if path not in skipped], skipped


def _into_cache(sizes, options):
    """A filled `Cache`, or `None` without room for it, and a dict of path -> reason of bad ones."""
    cache = Cache(options.cache, options.scale)
    try:
        return cache, cache.fill(sizes)
    except (InputError, OSError) as error:
        if is_fault(error):
            raise
        print(f"photographs are not kept in {options.cache}: {getattr(error, 'strerror', error)}")
        return None, {}


def open_photographs(sizes, options, free_memory, on_skip, rotates=None):
    """Decodes photographs: few into memory, many into a cache of mapped files.

    If memory cannot hold them, a few are loaded at a time, by turns (`rotates`): to read single
    crops from a disk takes a hundred times as long. Crops depend on it, so a resumed run gives it.
    """
    needed = sum(pixel_bytes(size, options.scale) for size in sizes.values())
    fits = needed <= MEMORY_SHARE * free_memory
    rotates = not fits if rotates is None else rotates
    is_cached = options.cache and needed > SMALL_BYTES
    cache, skipped = _into_cache(sizes, options) if is_cached else (None, {})
    if not (cache or fits or rotates):
        print("not enough memory to resume with the same crops: photographs take turns from now on")
        rotates = True
    if not (cache or rotates):
        photographs, skipped = _into_memory(list(sizes), options.scale)
    for path, reason in skipped.items():
        on_skip(path, reason)
    if rotates:
        return Rotating(sizes, options, cache=cache, on_skip=on_skip, skipped=skipped)
    if cache:
        view = cache.view if len(sizes) <= MAX_MAPPED else cache.load
        photographs = [view(path) for path in sizes if path not in skipped]
    if not photographs:
        raise InputError(NONE_READABLE.format(len(sizes)))
    return Resident(photographs, options.crop_size, f"in {cache.folder}" if cache else "in memory")
