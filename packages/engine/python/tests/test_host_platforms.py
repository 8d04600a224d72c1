"""No Platform object crosses the wire (areal.md 4, issue 661): the call fails by name, the host lives on."""

import pytest
from host_pythons import BARE, FULL
from host_worker import Worker

PLATFORMS = "whipray_samples.platforms."


@pytest.mark.parametrize("python", [FULL, BARE], ids=["full", "bare"])
@pytest.mark.parametrize("remote", [False, True], ids=["result", "remote"])
def test_a_platform_object_in_a_result_is_refused_with_its_path_and_class(python, remote):
    with Worker(python) as worker:
        worker.create(PLATFORMS + "Engine")
        for method, path, name in (("platform", "result.platform", "CudaPlatform"), ("lazy", "result[0]", "LazyPlatform"), ("bare", "result", "LazyPlatform")):
            error = worker.fails(worker.request("call", {"method": method, "remote": remote}))
            assert error["code"] == "NOT_SERIALISABLE" and error["details"]["path"] == path, error
            assert name in error["message"]
        stream = worker.begin("items", stream=True)
        assert worker.fails(stream)["details"]["path"] == "item[1]" and worker.answers[stream].items == [1]
        assert worker.ask("health")["status"] == "healthy"


def test_nor_from_an_async_engine():
    with Worker(BARE) as worker:
        worker.create(PLATFORMS + "AsyncEngine")
        for method, path in (("platform", "result.platform"), ("lazy", "result[0]"), ("later", "result[0]"), ("bare", "result")):
            error = worker.fails(worker.begin(method))
            assert error["code"] == "NOT_SERIALISABLE" and error["details"]["path"] == path, (method, error)
