"""Several devices, and several processes, that train together."""

import os

from superres.runtime import backend
from superres.runtime.backend import keras
from superres.runtime.errors import InputError


def connect_processes():
    """Joins the processes that Keras's KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and
    _PROCESS_ID name, before anything is computed. InputError: the others were not found.
    """
    if "KERAS_DISTRIBUTION_JOB_ADDRESSES" not in os.environ:
        return
    if keras.backend.backend() != "jax":
        raise InputError(
            "KERAS_DISTRIBUTION_JOB_ADDRESSES is set: several processes need KERAS_BACKEND=jax"
        )
    import jax

    if jax.distributed.is_initialized():
        return
    try:
        keras.distribution.initialize()
    except (RuntimeError, ValueError) as error:
        address = os.environ["KERAS_DISTRIBUTION_JOB_ADDRESSES"]
        raise InputError(f"KERAS_DISTRIBUTION_JOB_ADDRESSES = {address!r}: {error}") from error


def index_and_count():
    """Number of this process, from 0, and how many train together."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def is_first():
    """Whether this process scores and saves; the others only compute."""
    return index_and_count()[0] == 0


def own_part(batch_size):
    """The slice of a batch that this process computes."""
    index, count = index_and_count()
    share = batch_size // count
    return slice(index * share, (index + 1) * share)


def all_gather(value):
    """The whole numbers `value` of all processes; all must ask at the same time."""
    if index_and_count()[1] == 1:
        return [value]
    import numpy as np
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(np.array(value)).tolist()


def use_all(batch_size):
    """Has models that are built from here on trained on all devices, with JAX.

    Each has a copy of the weights and a part of every batch. Other backends use one device.
    """
    if keras.backend.backend() != "jax":
        count = backend.count_gpus()
        if count > 1:
            print(f"one of {count} GPUs is used; KERAS_BACKEND=jax trains on all of them")
        return
    devices = keras.distribution.list_devices()
    if len(devices) == 1:
        return
    if batch_size % len(devices):
        raise InputError(
            f"BATCH_SIZE = {batch_size}: expected a multiple of the {len(devices)} devices"
        )
    print(f"each step is shared among {len(devices)} devices")
    # Each process cuts its own part of the batch.
    shared = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    keras.distribution.set_distribution(shared)
