import pytest
from host_pythons import BARE
from host_worker import Worker


@pytest.fixture
def worker(request):
    """A worker of a test, with the engine that the test's file names `ENGINE`, in a Python that has nothing installed."""
    with Worker(BARE) as one:
        one.create(request.module.ENGINE)
        yield one
