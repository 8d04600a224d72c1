"""The start: the environment at exec, nothing imported early, and how a start fails."""

import os
import subprocess
import sys

import pytest
from host_pythons import BARE, FULL, PYTHONS
from host_worker import ADDRESS, Worker

from whipray_engine import wire
from whipray_engine.frame import REFUSE, WELCOME, frame


def environ_of(pid):
    with open("/proc/%d/environ" % pid, "rb") as file:
        return dict(item.split(b"=", 1) for item in file.read().split(b"\0") if item)


def test_hello_says_who_we_are():
    with Worker(BARE, {"WHIPRAY_CLUSTER": "cluster_x"}) as worker:
        hello = worker.hello
        assert (hello["magic"], hello["v"], hello["role"], hello["address"], hello["purpose"]) == ("whipray", [1, 1], "engine", ADDRESS, "data")
        assert hello["token"] == "a-token-of-this-test" and hello["pid"] == worker.process.pid and hello["cluster"] == "cluster_x"
        assert hello["inc"].startswith("inc_") and len(hello["inc"]) == 20


def test_the_kernel_is_to_end_it_first_where_memory_runs_out():
    with Worker(BARE) as worker:
        worker.ask("info")
        with open("/proc/%d/oom_score_adj" % worker.process.pid) as file:
            assert file.read().strip() == "1000"


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS.keys())
def test_device_variables_were_there_at_exec_and_no_platform_is_touched_before_create_engine(python, tmp_path):
    trace = str(tmp_path / "torch-was-imported")
    env = {"CUDA_VISIBLE_DEVICES": "3,7", "ASCEND_RT_VISIBLE_DEVICES": "", "TORCH_TRACE": trace, "OTHER": "x"}
    with Worker(python, env) as worker:
        at_exec = environ_of(worker.process.pid)
        info = worker.ask("info")
        assert at_exec[b"CUDA_VISIBLE_DEVICES"] == b"3,7"
        assert info["envAtExec"]["CUDA_VISIBLE_DEVICES"] == "3,7" and info["envAtExec"]["ASCEND_RT_VISIBLE_DEVICES"] == ""
        assert "OTHER" not in info["envAtExec"] and info["envAtExec"]["WHIPRAY_ENGINE_ADDRESS"] == ADDRESS
        worker.ask("configure", {"config": {"seed": 1}, "role": "actor", "rank": 0})
        worker.ask("set_env", {"env": {"RANK": "0"}})
        worker.ask("stacks")
        info = worker.ask("info")
        assert info["loaded"] == [] and info["pid"] == worker.process.pid and info["modules"] < 150
        assert not os.path.exists(trace)
        worker.create("torch_engine.Uses")
        assert os.path.exists(trace) and "torch" in worker.ask("info")["loaded"]


def test_only_the_standard_library_and_our_package_are_loaded_at_the_start():
    code = "import sys, whipray_engine.__main__; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    env = {"PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}
    names = set(subprocess.run(FULL + ["-c", code], env=env, capture_output=True, text=True, check=True).stdout.split())
    at_start = set(subprocess.run(FULL + ["-c", "import sys; print(*{name.partition('.')[0] for name in sys.modules})"], capture_output=True, text=True).stdout.split())
    assert names - at_start - set(sys.stdlib_module_names) == {"whipray_engine"}
    assert not names & {"asyncio", "logging", "json", "inspect", "multiprocessing", "subprocess", "hashlib"}


def run(env, python=BARE):
    base = {"PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}
    return subprocess.run(python + ["-m", "whipray_engine"], env=dict(base, **env), capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("missing", ["WHIPRAY_ENGINE_SOCKET", "WHIPRAY_ENGINE_ADDRESS", "WHIPRAY_ENGINE_TOKEN_FILE"])
def test_a_missing_variable_is_named(missing):
    env = {"WHIPRAY_ENGINE_SOCKET": "/x", "WHIPRAY_ENGINE_ADDRESS": "a/b", "WHIPRAY_ENGINE_TOKEN_FILE": "/y"}
    del env[missing]
    ended = run(env)
    assert ended.returncode == 78 and missing in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize("name, value", [("WHIPRAY_STREAM_STALL_MS", "soon"), ("WHIPRAY_EPOCH", "-1"), ("WHIPRAY_PORT_RANGE", "5"), ("WHIPRAY_PORT_RANGE", "9-70000")])
def test_a_wrong_variable_is_named(name, value):
    env = {"WHIPRAY_ENGINE_SOCKET": "/x", "WHIPRAY_ENGINE_ADDRESS": "a/b", "WHIPRAY_ENGINE_TOKEN_FILE": "/y", name: value}
    ended = run(env)
    assert ended.returncode == 78 and name in ended.stderr and value in ended.stderr


def test_no_worker_at_the_socket_and_no_token_are_said(tmp_path):
    env = {"WHIPRAY_ENGINE_SOCKET": str(tmp_path / "nobody"), "WHIPRAY_ENGINE_ADDRESS": "a/b", "WHIPRAY_ENGINE_TOKEN_FILE": str(tmp_path / "token")}
    ended = run(env)
    assert ended.returncode == 75 and "UNREACHABLE" in ended.stderr and "nobody" in ended.stderr
    (tmp_path / "token").write_text("\n")
    with Worker(BARE, {"WHIPRAY_ENGINE_TOKEN_FILE": str(tmp_path / "token")}, start=False) as worker:
        ended = run(worker.env)
    assert ended.returncode == 78 and "token" in ended.stderr


def test_a_refused_token_ends_the_host_with_the_workers_words():
    with Worker(BARE, welcome=False) as worker:
        worker.send(frame(REFUSE, body=wire.pack({"name": "WhiprayError", "code": "UNAUTHENTICATED", "message": "wrong token of an engine"})))
        assert worker.exit_code() == 77
        assert "UNAUTHENTICATED: wrong token of an engine" in worker.text() and "Traceback" not in worker.text()


@pytest.mark.parametrize(
    "data, words",
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3, "WRONG_PROTOCOL"),
        (frame(WELCOME, header=wire.pack({"v": 2})), "VERSION"),
        (frame(WELCOME, header=b"\x81\x01\x02"), "DECODE_KEY"),
        (frame(REFUSE - 2, header=b""), "WRONG_PROTOCOL"),
    ],
)
def test_an_answer_to_hello_that_makes_no_sense_ends_the_host_with_70(data, words):
    with Worker(BARE, welcome=False) as worker:
        worker.send(data)
        assert worker.exit_code() == 70 and words in worker.text() and "Traceback" not in worker.text()


def test_a_worker_that_closes_before_welcome_ends_the_host():
    with Worker(BARE, welcome=False) as worker:
        worker.sock.close()
        assert worker.exit_code() == 75 and "WELCOME" in worker.text()
