"""Photographs ready to be cut: all of them or, where memory is short, a part that rotates."""

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

MEMORY_SHARE = 0.5  # of what is free, that photographs may take
SMALL_BYTES = 2**28  # fewer are decoded anew at every start, in a few seconds
MAX_MAPPED = 2**15  # files; Linux allows 65,530 mappings
MAX_RESIDENT, RESIDENT_BYTES = 128, 2**31  # in memory, where photographs rotate
STEPS_PER_PHOTOGRAPH = 32  # until one is replaced by the next
LOADED_AHEAD = 8
NONE_SOUND = (
    "none of the {} pictures left to train on could be decoded; at least two sound ones are "
    "needed, one of them to validate on, or VALIDATION_DATA"
)


class Resident:
    """Photographs that are all there, in memory or in files that are mapped into it."""

    rotates = False

    def __init__(self, photographs, crop_size, where):
        self.count, self.where = len(photographs), where
        self._pool = CropSampler(photographs, crop_size)

    def at(self, step):
        """The `CropSampler` for a step."""
        return self._pool

    def close(self):
        """Nothing to end."""


class Rotating:
    """Photographs of which a part is in memory, each for a while; threads load the next.

    All come again and again, in random order; which ones are there follows from seed and step.
    """

    rotates = True

    def __init__(self, sizes, options, *, cache, on_skip, skipped):
        self.paths, self.options, self.on_skip = list(sizes), options, on_skip
        self.count = len(sizes) - len(skipped)
        largest = max(pixel_bytes(size, options.scale) for size in sizes.values())
        self.resident = max(1, min(MAX_RESIDENT, len(sizes), RESIDENT_BYTES // largest))
        self.load = cache.load if cache else functools.partial(decode, scale=options.scale)
        source = f"loaded from {cache.folder}" if cache else "decoded"
        self.where = f"{source}, {self.resident} at a time"
        self._skipped, self._lock = set(skipped), threading.Lock()
        self._workers = ThreadPoolExecutor()
        self._loading = {}  # slot -> Future
        self._first = self._pool = None  # slot of the first photograph in the pool

    def at(self, step):
        """The `CropSampler` for a step; raises InputError where not one photograph loads."""
        if self._first != (first := step // STEPS_PER_PHOTOGRAPH):
            self._fill(first)
        return self._pool

    def _fill(self, first):
        for start in itertools.count(first, self.resident):
            slots = range(start, start + self.resident)
            wanted = set(range(start, slots.stop + LOADED_AHEAD))
            for slot in self._loading.keys() - wanted:
                self._loading.pop(slot).cancel()
            for slot in sorted(wanted - self._loading.keys()):
                self._loading[slot] = self._workers.submit(self._load, slot)
            is_quiet = self._first is not None  # the bar of the training is there
            bar = tqdm(slots, "loading", unit="picture", delay=1, leave=False, disable=is_quiet)
            photographs = list(filter(None, (self._loading[slot].result() for slot in bar)))
            if photographs:
                self._first, self._pool = first, CropSampler(photographs, self.options.crop_size)
                return
            if len(self._skipped) == len(self.paths):
                raise InputError(NONE_SOUND.format(len(self.paths)))

    def _load(self, slot):
        """The `Photograph` of a slot; `None` where it cannot be used."""
        turn, place = divmod(slot, len(self.paths))
        order = np.random.default_rng((self.options.seed, turn)).permutation(len(self.paths))
        path = self.paths[order[place]]
        if path in self._skipped:
            return None
        try:
            photograph = self.load(path)
            height, width = photograph.hr.shape[:2]
            if min(height, width) < self.options.crop_size:  # replaced since it was surveyed
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
    """The photographs that can be decoded, and a dict of path -> reason of the others."""
    results = in_order(lambda path: decode(path, scale), paths, UnreadablePicture)
    results = dict(tqdm(results, "decoding", len(paths), unit="picture"))
    skipped = {path: str(r) for path, r in results.items() if isinstance(r, UnreadablePicture)}
    return [results[path] for path in paths if path not in skipped], skipped


def _filled_cache(sizes, options):
    """A `Cache` of the photographs, or `None`, and a dict of path -> reason of the others."""
    cache = Cache(options.cache, options.scale)
    try:
        return cache, cache.fill(sizes)
    except (InputError, OSError) as error:
        if is_fault(error):
            raise
        print(f"photographs are not kept in {options.cache}: {getattr(error, 'strerror', error)}")
        return None, {}


def open_photographs(sizes, options, free_memory, on_skip, rotates=None):
    """Decodes photographs into memory; many into a cache, of which they are mapped into memory.

    Where memory cannot hold them they rotate, because to read single crops from a disk is a
    hundred times as slow; `rotates` says how a training that is resumed began. Crops depend on
    whether photographs rotate, and not on where the pixels are.
    """
    needed = sum(pixel_bytes(size, options.scale) for size in sizes.values())
    fits = needed <= MEMORY_SHARE * free_memory
    rotates = not fits if rotates is None else rotates
    is_kept = options.cache and needed > SMALL_BYTES
    cache, skipped = _filled_cache(sizes, options) if is_kept else (None, {})
    if not (cache or fits or rotates):
        print("not enough memory to resume with the same crops: photographs rotate from here on")
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
        raise InputError(NONE_SOUND.format(len(sizes)))
    return Resident(photographs, options.crop_size, f"in {cache.folder}" if cache else "in memory")
