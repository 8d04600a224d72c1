"""The host counts what the engine sees, once torch is there, and reports what differs from the grant."""

import pytest
from host_pythons import BARE
from host_worker import Worker

USES = "torch_engine.Uses"
GPU = {"TORCH_CUDA": "12.4", "TORCH_GPUS": "8"}


def look(env, engine=USES):
    with Worker(BARE, env={**GPU, **env}) as worker:
        assert "devices" in worker.ask("info")
        worker.create(engine, "actor/0")
        return worker.ask("info")["devices"], worker.text()


def test_what_is_seen_is_what_was_granted():
    devices, text = look({"WHIPRAY_DEVICES": "GPU=2", "CUDA_VISIBLE_DEVICES": "4,5"})
    assert devices == {"granted": {"GPU": 2}, "seen": {"GPU": 2}, "mismatches": []}
    assert "whipray:" not in text


@pytest.mark.parametrize(
    "granted, visible, words",
    [("GPU=2", "4", "2 GPU were granted, but this process sees 1"), ("", "0,1", "0 GPU were granted, but this process sees 2")],
)
def test_a_mismatch_is_in_info_and_in_the_log(granted, visible, words):
    devices, text = look({"WHIPRAY_DEVICES": granted, "CUDA_VISIBLE_DEVICES": visible})
    assert devices["mismatches"] == [words]
    assert text.count("whipray: " + words) == 1


def test_a_mismatch_is_told_with_the_health():
    env = {**GPU, "WHIPRAY_DEVICES": "GPU=2", "CUDA_VISIBLE_DEVICES": "4"}
    with Worker(BARE, env=env) as worker:
        assert "deviceMismatches" not in worker.ask("health")
        worker.create(USES, "actor/0")
        assert worker.ask("health")["deviceMismatches"] == ["2 GPU were granted, but this process sees 1"]


@pytest.mark.parametrize(
    "backend, resource", [("npu", "NPU"), ("xpu", "GPU"), ("mlu", "GPU"), ("musa", "GPU"), ("hpu", "HPU")]
)
def test_what_a_vendor_adds_to_torch_is_counted_once_it_was_started(backend, resource):
    env = {"TORCH_CUDA": "", "WHIPRAY_DEVICES": resource + "=2"}
    assert look({**env, "TORCH_BACKEND": backend + ":2"})[0]["mismatches"] == []
    words = "2 %s were granted, but this process sees 1" % resource
    assert look({**env, "TORCH_BACKEND": backend + ":1"})[0]["mismatches"] == [words]
    assert look({**env, "TORCH_BACKEND": backend + ":1:idle"})[0]["seen"] == {}


def test_a_kind_whose_variable_a_noset_flag_left_alone_is_not_compared():
    devices, text = look({"WHIPRAY_DEVICES": "GPU=*", "CUDA_VISIBLE_DEVICES": "0,1,2"})
    assert devices == {"granted": {"GPU": None}, "seen": {}, "mismatches": []}
    assert "whipray:" not in text


def test_with_isolation_none_nobody_says_what_is_granted_and_nothing_is_asked():
    devices, _ = look({"CUDA_VISIBLE_DEVICES": "0,1"})
    assert devices == {"granted": None, "seen": {}, "mismatches": []}


def test_a_driver_that_fails_is_said_and_ends_nothing():
    devices, text = look({"WHIPRAY_DEVICES": "GPU=1", "TORCH_BROKEN": "1"})
    assert devices["seen"] == {"GPU": None}
    assert "cannot be counted: no driver" in text


def test_nothing_is_counted_for_an_engine_without_torch_or_with_a_cpu_build():
    assert look({"WHIPRAY_DEVICES": "GPU=1"}, "whipray_samples.plain.Engine")[0]["seen"] == {}
    assert look({"WHIPRAY_DEVICES": "GPU=1", "TORCH_CUDA": ""})[0]["seen"] == {}
