"""Photographs ready to be cut: in memory, in a file that is mapped into it, or in turn.

Which of them follows from their size: `open_photographs`.
"""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from superres.dataset.cache import MEMORY_SHARE, decode, filled_cache, pixel_bytes
from superres.dataset.crops import CropSampler
from superres.runtime.errors import InputError, UnreadablePicture, is_fault
from superres.runtime.prefetch import in_order

# Fewer bytes are decoded anew at every start, in a few seconds, and not kept in a file.
SMALL_BYTES = 2**28
# Where photographs are there in turn: so many are in memory, and one is replaced by the next
# after so many steps.
MOST_RESIDENT, RESIDENT_BYTES = 128, 2**31
STEPS_PER_PHOTOGRAPH = 32
LOADED_AHEAD = 8


class AllAtOnce:
    """Photographs that are all there, in memory or in a file that is mapped into it."""

    is_in_turn = False

    def __init__(self, photographs, crop_size, where):
        self.where = where
        self.count = len(photographs)
        self._pool = CropSampler(photographs, crop_size)

    def at(self, step):
        """The `CropSampler` for a step."""
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
        options: `DataOptions`.
        resident: how many are there at once.
        on_skip: called with the path and the reason of a file that cannot be loaded, once.
        where: in words, where they come from.
        skipped: paths of which it is known that they cannot be loaded.
    """

    is_in_turn = True

    def __init__(self, paths, load, options, *, resident, on_skip, where, skipped):
        self.where = f"{where} in turn, {resident} at a time"
        self.paths = paths
        self.count = len(paths) - len(skipped)
        self.load = load
        self.crop_size = options.crop_size
        self.seed = options.seed
        self.resident = resident
        self.on_skip = on_skip
        self._skipped = set(skipped)
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor()
        self._loading = {}  # slot -> Future
        self._first = None  # slot of the first photograph in the pool
        self._pool = None

    def at(self, step):
        """The `CropSampler` for a step.

        Raises:
            InputError: none of all photographs can be loaded.
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
                self._first, self._pool = first, CropSampler(there, self.crop_size)
                return
            if len(self._skipped) == len(self.paths):
                raise InputError(none_sound(self.paths))

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


def none_sound(paths):
    """The message where no photograph can be decoded."""
    return (
        f"none of the {len(paths)} pictures left to train on could be decoded; at least two sound "
        "ones are needed, one of them to validate on, or VALIDATION_DATA"
    )


def _into_memory(paths, scale):
    """The photographs that can be decoded, and a dict of path -> reason of the others."""
    photographs, skipped = [], {}
    decoded = in_order(lambda path: decode(path, scale), paths, UnreadablePicture)
    for path, result in tqdm(decoded, "decoding", len(paths), unit="picture"):
        if isinstance(result, UnreadablePicture):
            skipped[path] = str(result)
        else:
            photographs.append(result)
    return photographs, skipped


def open_photographs(sizes, options, *, free_memory, on_skip, in_turn=None):
    """Makes photographs ready to be cut.

    A few are decoded into memory. More are decoded once into a file, from which the next start
    is fast: it is mapped into memory where that can hold it. Where it cannot, photographs are
    loaded from there in turn, a part of them at a time, because to read single crops from a
    disk is a hundred times as slow. Without room on the disk they are decoded into memory, or
    again and again in turn.

    Args:
        sizes: dict of path -> (height, width), as `survey` returns it.
        options: `DataOptions`.
        free_memory: bytes.
        on_skip: called with the path and the reason of each file that cannot be decoded.
        in_turn: whether they come in turn, as a training that goes on has to have it;
            `None`: by their size.

    Returns:
        `AllAtOnce` or `InTurn`. The crops of a step depend on which of the two it is, and not
        on where the pixels are.

    Raises:
        InputError: there is not one that can be decoded.
    """
    scale = options.scale
    needed = sum(pixel_bytes(size, scale) for size in sizes.values())
    is_too_much = needed > MEMORY_SHARE * free_memory
    in_turn = is_too_much if in_turn is None else in_turn
    file, skipped = None, {}
    if options.cache and needed > SMALL_BYTES:
        try:
            file, skipped = filled_cache(options.cache, options.data, sizes, scale)
        except (InputError, OSError) as error:
            if is_fault(error):
                raise
            reason = getattr(error, "strerror", error)
            print(f"decoded photographs are not kept in {options.cache}: {reason}")
    if not in_turn and not file and is_too_much:
        print("not enough memory to go on as before: photographs come in turn, with other crops")
        in_turn = True
    if not file and not in_turn:
        where = "in memory"
        photographs, skipped = _into_memory(list(sizes), scale)
    for path, reason in skipped.items():
        on_skip(path, reason)
    if in_turn:
        largest = max(pixel_bytes(size, scale) for size in sizes.values())
        return InTurn(
            list(sizes),
            file.load if file else lambda path: decode(path, scale),
            options,
            resident=max(1, min(MOST_RESIDENT, len(sizes), RESIDENT_BYTES // largest)),
            on_skip=on_skip,
            where=f"loaded from {file.pixels}" if file else "decoded",
            skipped=skipped,
        )
    if file:
        where = f"in {file.pixels}"
        photographs = list(filter(None, map(file.view, sizes)))
    if not photographs:
        raise InputError(none_sound(sizes))
    return AllAtOnce(photographs, options.crop_size, where)
