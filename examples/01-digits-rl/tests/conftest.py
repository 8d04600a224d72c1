import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]  # loop.py and the engines; spawned ranks inherit the path


@pytest.fixture(scope="session")
def two_ranks():
    """Two rank processes in a process group, shared by all tests that leave them so."""
    from loop import ranks

    with ranks() as started:
        started.call("create_process_group")
        yield started
