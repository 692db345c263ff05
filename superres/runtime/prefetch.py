"""Work that threads do ahead, in order."""

import itertools
import os
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
