"""Host methods: engines by name, calls, errors, environment, ports."""

import hashlib
import os
import socket
import zlib

import pytest
from host_pythons import BARE, PYTHONS
from host_worker import ADDRESS, Worker

PLAIN = "whipray_samples.plain."


@pytest.fixture(params=PYTHONS.values(), ids=PYTHONS.keys())
def worker(request):
    with Worker(request.param) as one:
        yield one


@pytest.fixture
def bare():
    with Worker(BARE) as one:
        yield one


def test_an_engine_is_created_called_and_destroyed(worker):
    assert worker.create(PLAIN + "Engine", "actor/0", [1, "two"], {"tag": "t"}) is None
    worker.create("whipray_samples.plain:Engine", "actor/1")
    assert worker.call("facts", engine="actor/0") == {"args": [1, "two"], "kwargs": {"tag": "t"}, "ctorOnMain": True, "onMain": True, "log": []}
    assert worker.call("echo", 1, None, "x", engine="actor/1", key=[1.5]) == {"args": [1, None, "x"], "kwargs": {"key": [1.5]}}
    assert worker.ask("health") == {"status": "healthy", "engines": ["actor/0", "actor/1"], "busy": False, "queued": 0}
    assert worker.ask("destroy", {"engineName": "actor/0"}) == {"destroyed": ["actor/0"], "failed": []}
    assert worker.ask("health")["engines"] == ["actor/1"]
    assert "destroyed t" in worker.text()


def test_a_call_without_engine_name_goes_to_the_first_engine(bare):
    bare.create(PLAIN + "Engine", "first")
    bare.create(PLAIN + "Closing", "second")
    assert bare.call("add", 1, engine=None) == 2


@pytest.mark.parametrize(
    "engine, name, code, words",
    [
        (5, "e", "ENGINE_CREATION", ["int"]),
        (None, "e", "ENGINE_CREATION", ["NoneType"]),
        ("", "e", "INVALID_ARGUMENT", ["empty"]),
        (PLAIN + "Engine", "", "INVALID_ARGUMENT", ["engineName", "256"]),
        (PLAIN + "Engine", "x" * 257, "INVALID_ARGUMENT", ["engineName"]),
        (PLAIN + "Engine", 7, "INVALID_ARGUMENT", ["engineName"]),
        (PLAIN + "Engine", "taken", "ENGINE_EXISTS", ["taken"]),
        ("no_such_module.Class", "e", "ENGINE_IMPORT", ["no_such_module", "ModuleNotFoundError"]),
        (PLAIN + "NoSuchClass", "e", "ENGINE_IMPORT", ["NoSuchClass", "AttributeError"]),
        ("nodots", "e", "ENGINE_IMPORT", ["module.Class"]),
        (PLAIN + "a_function", "e", "ENGINE_IMPORT", ["not a class"]),
        (PLAIN + "Broken", "e", "ENGINE_CREATION", ["cannot be made", "Custom"]),
    ],
    ids=lambda value: str(value)[:24],
)
def test_areal_6_15_create_engine_errors(shared, engine, name, code, words):
    error = shared.fails(shared.request("create_engine", {"engine": engine, "engineName": name}))
    assert error["code"] == code
    assert all(word in error["message"] for word in words), error["message"]
    assert shared.ask("health")["engines"] == ["taken"]


@pytest.fixture(scope="module")
def shared():
    with Worker(BARE) as one:
        one.create(PLAIN + "Engine", "taken")
        yield one


def test_import_and_constructor_errors_carry_the_traceback(shared):
    error = shared.fails(shared.request("create_engine", {"engine": PLAIN + "Broken", "engineName": "e"}))
    assert error["name"] == "Custom" and error["details"]["engine"] == PLAIN + "Broken"
    assert 'raise Custom("cannot be made")' in error["stack"] and "whipray_engine/" not in error["stack"]
    error = shared.fails(shared.request("create_engine", {"engine": "no_such_module.Class", "engineName": "e"}))
    assert error["name"] == "ModuleNotFoundError" and "Traceback" in error["stack"]


@pytest.mark.parametrize(
    "asked, code, words",
    [
        ({"method": "add", "engineName": "nobody"}, "ENGINE_NOT_FOUND", ["nobody", "taken"]),
        ({"method": "nothing", "engineName": "taken"}, "METHOD_NOT_FOUND", ["nothing", "Engine"]),
        ({"method": "_private", "engineName": "taken"}, "METHOD_NOT_FOUND", ["_private"]),
        ({"method": "__init__", "engineName": "taken"}, "METHOD_NOT_FOUND", []),
        ({"method": "__class__", "engineName": "taken"}, "METHOD_NOT_FOUND", []),
        ({"method": "", "engineName": "taken"}, "METHOD_NOT_FOUND", []),
        ({"method": "constructor", "engineName": "taken"}, "METHOD_NOT_FOUND", []),
        ({"method": "attribute", "engineName": "taken"}, "METHOD_NOT_FOUND", ["attribute"]),
        ({"method": 5, "engineName": "taken"}, "INVALID_ARGUMENT", []),
        ({"method": "add", "args": 5}, "INVALID_ARGUMENT", ["args"]),
        ({"method": "add", "kwargs": []}, "INVALID_ARGUMENT", ["kwargs"]),
        ({"method": "add", "rpcMeta": 5}, "INVALID_ARGUMENT", ["rpcMeta"]),
        ({"method": "add", "rpcMeta": {"broadcast": "yes"}}, "INVALID_ARGUMENT", ["broadcast"]),
        ([1], "INVALID_ARGUMENT", ["map"]),
        ({"method": "add", "engineName": "taken"}, "ENGINE_CALL", ["argument"]),
        ({"method": "attribute_error", "engineName": "taken"}, "ENGINE_CALL", ["no_such_thing"]),
        ({"method": "unfit", "engineName": "taken"}, "NOT_SERIALISABLE", ["result.a[1].b"]),
        ({"method": "keys", "engineName": "taken"}, "NOT_SERIALISABLE", ["result.a", "keys"]),
    ],
    ids=lambda value: str(value)[:48],
)
def test_areal_6_16_and_b16_call_errors(shared, asked, code, words):
    error = shared.fails(shared.request("call", asked))
    assert error["code"] == code
    assert all(word in error["message"] for word in words), error["message"]


def test_b16_an_unknown_host_method_is_refused_and_the_host_lives_on(shared):
    error = shared.fails(shared.request("__init__"))
    assert error["code"] == "METHOD_NOT_FOUND" and "create_engine" in error["message"]
    assert shared.call("add", 1, engine="taken") == 2


def test_an_exception_keeps_class_message_traceback_cause_and_place(shared):
    error = shared.fails(shared.begin("fail", engine="taken"))
    assert (error["name"], error["code"], error["message"]) == ("Custom", "ENGINE_CALL", "outer message")
    assert error["details"] == {"method": "fail", "engineName": "taken", "type": "whipray_samples.plain.Custom"}
    assert error["stack"].startswith("Traceback") and "raise Custom" in error["stack"] and "whipray_engine/" not in error["stack"]
    assert (error["cause"]["name"], error["cause"]["message"]) == ("KeyError", "'inner'")
    assert 'raise KeyError("inner")' in error["cause"]["stack"]
    assert error["where"] == {"pid": shared.process.pid, "process": ADDRESS}


def test_b44_a_long_error_text_is_cut_with_a_mark_and_fits_into_one_frame(shared):
    for chars in (200_000, 5_000_000):
        error = shared.fails(shared.begin("fail_long", chars, engine="taken"))
        assert error["message"].endswith("[cut, %d characters]" % chars) and len(error["message"]) < 140_000
        assert error["stack"].rstrip().endswith("é")


def test_an_exception_without_a_text_is_still_reported(shared):
    error = shared.fails(shared.begin("fail_rudely", engine="taken"))
    assert error["name"] == "Rude" and "text cannot be made" in error["message"]


def test_a_result_that_raises_while_it_is_read_fails_its_call_only(bare):
    bare.create("whipray_samples.streams.Odd")
    error = bare.fails(bare.begin("treacherous"))
    assert error["code"] == "NOT_SERIALISABLE" and "device lost" in error["message"] and error["name"] == "RuntimeError"
    assert bare.call("closed") is False


def test_destroy_uses_close_reports_failures_and_forgets_the_engine_anyway(bare):
    bare.create(PLAIN + "Closing", "c")
    bare.create(PLAIN + "FailingDestroy", "f")
    bare.create(PLAIN + "Engine", "e", kwargs={"tag": "last"})
    error = bare.fails(bare.request("destroy"))
    assert error["code"] == "ENGINE_CALL" and error["message"] == "cannot be destroyed"
    assert error["details"] == {"engineName": "f", "destroyed": ["c", "e"], "failed": ["f"]}
    assert bare.ask("health")["engines"] == []
    assert bare.text().index("closed") < bare.text().index("destroyed last")
    assert bare.fails(bare.request("destroy", {"engineName": "c"}))["code"] == "ENGINE_NOT_FOUND"
    assert bare.ask("destroy") == {"destroyed": [], "failed": []}


def test_shutdown_destroys_in_order_and_exits_0(worker):
    worker.create(PLAIN + "Engine", "a", kwargs={"tag": "first"})
    worker.create(PLAIN + "FailingDestroy", "b")
    worker.create(PLAIN + "Engine", "c", kwargs={"tag": "second"})
    outcome = worker.ask("shutdown", {"graceMs": 5000})
    assert outcome == {"destroyed": ["a", "c"], "failed": [{"engineName": "b", "message": "cannot be destroyed"}]}
    assert worker.exit_code() == 0
    assert worker.text().index("destroyed first") < worker.text().index("destroyed second")


def test_shutdown_ends_what_waits_and_gives_up_after_the_grace(bare):
    bare.create(PLAIN + "Engine")
    bare.create(PLAIN + "Stubborn", "s")
    running = bare.begin("until_cancelled")
    bare.running("until_cancelled")
    waiting = bare.begin("add", 1)
    bare.request("shutdown", {"graceMs": 300})
    late = bare.begin("add", 2)
    assert bare.fails(waiting)["code"] == "CANCELLED"
    assert bare.fails(running)["code"] == "CANCELLED"
    assert bare.fails(late)["code"] == "SHUTTING_DOWN"
    with pytest.raises(EOFError):
        bare.pump(lambda: False)
    assert bare.exit_code() == 1
    assert "did not end within 300 ms" in bare.text()


def test_configure_seeds_by_role_and_rank_and_tells_the_engine(bare):
    bare.create(PLAIN + "Engine")
    bare.create(PLAIN + "Configured", "c")
    drawn = []
    for role, rank in (("actor", 0), ("actor", 1), ("actor", 0)):
        asked = {"config": {"seed": 42}, "role": role, "rank": rank}
        assert bare.ask("configure", asked) == {"seed": (42 + zlib.crc32(("%s%d" % (role, rank)).encode())) % 2**32}
        drawn.append(bare.call("random"))
    assert drawn[0] == drawn[2] != drawn[1]
    assert bare.call("give", engine="c") == [{"seed": 42}, "actor", 0]
    for bad in ({"config": 5, "role": "a", "rank": 0}, {"config": {}, "role": "a", "rank": -1}, {"config": {"seed": "x"}, "role": "a", "rank": 0}):
        assert bare.fails(bare.request("configure", bad))["code"] == "INVALID_ARGUMENT"


def test_areal_6_17_set_env_changes_the_environment_late_and_says_so(bare):
    bare.create(PLAIN + "Engine")
    assert bare.ask("set_env", {"env": {"RANK": "3", "EMPTY": "", "WORLD_SIZE": "4=5,6"}}) == {"appliedLate": True}
    assert [bare.call("env", name) for name in ("RANK", "EMPTY", "WORLD_SIZE")] == ["3", "", "4=5,6"]


@pytest.mark.parametrize("env", [5, None, [], "A=1", {"A": 1}, {"A": None}])
def test_areal_6_17_set_env_with_something_else_than_a_map_of_strings_is_refused(shared, env):
    assert shared.fails(shared.request("set_env", {"env": env}))["code"] == "INVALID_ARGUMENT"


@pytest.fixture(scope="module")
def granted():
    env = {"CUDA_VISIBLE_DEVICES": "2,5", "WHIPRAY_PROTECTED_ENV": "CUDA_VISIBLE_DEVICES, MY_DEVICES"}
    with Worker(BARE, env) as one:
        one.create(PLAIN + "Engine")
        yield one


@pytest.mark.parametrize(
    "name, words",
    [
        ("CUDA_VISIBLE_DEVICES", ["2,5"]), ("MY_DEVICES", ["none was granted"]), ("WHIPRAY_ANYTHING", ["belongs to Whipray"]), ("LD_PRELOAD", ["interpreter starts"]),
        ("LD_LIBRARY_PATH", []), ("PYTHONPATH", []), ("PYTHONHOME", []), ("", []), ("A=B", []), ("A\0", []), ("A\n", []),
    ],
)
def test_b26_set_env_refuses_device_loader_and_own_variables_and_half_applies_nothing(granted, name, words):
    error = granted.fails(granted.request("set_env", {"env": {"GOOD_" + str(abs(hash(name))): "1", name: "1"}}))
    assert error["code"] == "INVALID_ENV"
    assert all(word in error["message"] for word in words), error["message"]
    assert granted.call("env", "GOOD_" + str(abs(hash(name)))) is None


def test_a_variable_that_is_not_protected_here_may_be_set(granted):
    assert granted.ask("set_env", {"env": {"ASCEND_RT_VISIBLE_DEVICES": "1"}}) == {"appliedLate": True}


def test_ports_are_bind_tested_and_never_given_twice():
    holder = socket.socket()
    holder.bind(("", 0))
    taken = holder.getsockname()[1]
    first = min(taken - 1, 65_530)
    with holder, Worker(BARE, {"WHIPRAY_PORT_RANGE": "%d-%d" % (first, first + 4)}) as worker:
        got = worker.ask("alloc_ports", {"count": 1})["ports"] + worker.ask("alloc_ports", {"count": 1})["ports"]
        assert len(set(got)) == 2 and taken not in got
        for count in (0, -1, 1.5, "2", None, 1025, True):
            assert worker.fails(worker.request("alloc_ports", {"count": count}))["code"] == "INVALID_ARGUMENT"
        error = worker.fails(worker.request("alloc_ports", {"count": 5}))
        assert error["code"] == "PORT_ALLOCATION" and "free in" in error["message"]


def test_without_a_range_ports_are_the_workers_business(shared):
    error = shared.fails(shared.request("alloc_ports", {"count": 1}))
    assert error["code"] == "PORT_ALLOCATION" and "worker" in error["message"]


def test_sys_exit_in_a_method_ends_the_process_with_its_code(bare):
    bare.create(PLAIN + "Engine")
    bare.begin("exit", 3)
    assert bare.exit_code() == 3


def test_what_user_code_prints_is_there_line_by_line_and_at_the_end(bare):
    bare.create(PLAIN + "Engine")
    bare.call("say", "a line of mine")
    assert "a line of mine\n" in bare.text()
    bare.ask("shutdown")
    assert bare.exit_code() == 0 and "no newline" in bare.text()


def test_stale_epochs_are_refused():
    with Worker(BARE, {"WHIPRAY_EPOCH": "4"}) as worker:
        assert worker.ask("health", e=4)["status"] == "healthy"
        for epoch in (3, 5):
            error = worker.fails(worker.request("health", e=epoch))
            assert error["code"] == "STALE_EPOCH" and error["details"] == {"epoch": 4}


def test_a_forked_child_does_not_hold_the_link(bare):
    bare.create(PLAIN + "Engine")
    child = bare.call("fork_child")
    bare.process.kill()
    with pytest.raises((EOFError, ConnectionError)):
        bare.pump(lambda: False, timeout=2)
    os.kill(child, 9)


SAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "engines", "whipray_samples")


@pytest.fixture
def controllers():
    """What a controller says of a module file that it has."""

    def code(text, path="/at/the/controller.py"):
        return {"hash": hashlib.sha256(text).hexdigest(), "path": path}

    return code


def test_mechanism_14_a_module_that_is_the_controllers_own_is_imported(bare, controllers):
    with open(os.path.join(SAMPLES, "plain.py"), "rb") as file:
        code = controllers(file.read())
    for path in (PLAIN + "Engine", "whipray_samples.plain:Engine"):
        bare.ask("create_engine", {"engine": path, "engineName": path, "code": code})


def test_mechanism_14_a_module_that_differs_is_named_and_not_imported(bare, controllers):
    node = ADDRESS.partition("/")[0]
    path = os.path.join(SAMPLES, "plain.py")
    request = {"engine": PLAIN + "Engine", "engineName": "e", "code": controllers(b"another one")}
    error = bare.fails(bare.request("create_engine", request))
    assert error["code"] == "CODE_MISMATCH" and error["details"] == {"node": node, "path": path}
    assert error["message"] == "%s on %s differs from the controller's /at/the/controller.py: put the same code there" % (path, node)
    assert bare.ask("health")["engines"] == []


@pytest.mark.parametrize("module", ["not_here", "not_here.at_all", "whipray_samples.not_here"])
def test_mechanism_14_a_module_that_the_controller_alone_has_is_named(bare, controllers, module):
    request = {"engine": module + ".Engine", "engineName": "e", "code": controllers(b"")}
    error = bare.fails(bare.request("create_engine", request))
    assert error["code"] == "CODE_MISMATCH" and error["details"]["path"] == "/at/the/controller.py"
    assert module in error["message"] and "does not exist on" in error["message"]


@pytest.mark.parametrize("code", [5, [], {}, {"hash": "x"}, {"hash": 1, "path": "x"}, {"hash": "x", "path": None}], ids=str)
def test_b38_code_of_another_form_is_refused(shared, code):
    error = shared.fails(shared.request("create_engine", {"engine": PLAIN + "Engine", "engineName": "e", "code": code}))
    assert error["code"] == "INVALID_ARGUMENT" and "`code`" in error["message"]
