"""What is the same on every machine with the same packages still is what it was."""

import json

import pytest

import fingerprints


@pytest.mark.slow
@pytest.mark.parametrize("group", [fingerprints.crops, fingerprints.graphs, fingerprints.files])
def test_crops_graphs_and_files_are_what_they_were(group):
    others, differing = fingerprints.compare(group, json.loads(fingerprints.RECORD.read_text()))
    if others:
        pytest.skip(f"recorded with another version of {', '.join(others)}")
    assert not differing
