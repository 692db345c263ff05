"""Work that threads do ahead, in order."""

import itertools
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor


def in_order(function, items, errors=(), ahead=None):
    """Yields (item, function(item)) in the order of `items`; threads compute some ahead.

    What `function` raises of the classes `errors` is yielded in place of its result.
    """

    def attempt(item):
        try:
            return function(item)
        except errors as error:
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


class Prefetcher:
    """Batches in the order of their steps, made by a thread of its own a few steps ahead.

    Args:
        make_batch: function of the number of a step.
        ahead: how many are made ahead.

    Attributes:
        waited: seconds that its user had to wait for batches.
    """

    def __init__(self, make_batch, ahead=8):
        self.make_batch = make_batch
        self.ahead = ahead
        self.waited = 0.0
        self._worker = ThreadPoolExecutor(1)

    def batches(self, steps):
        """Yields make_batch(step) for each of `steps`."""
        steps = iter(steps)
        waiting = deque()
        for step in itertools.islice(steps, self.ahead):
            waiting.append(self._worker.submit(self.make_batch, step))
        while waiting:
            began = time.perf_counter()
            batch = waiting.popleft().result()
            self.waited += time.perf_counter() - began
            yield batch
            for step in itertools.islice(steps, 1):
                waiting.append(self._worker.submit(self.make_batch, step))

    def close(self):
        """Ends the thread."""
        self._worker.shutdown(cancel_futures=True)
