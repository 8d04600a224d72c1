"""The methods of the engine host: which thread answers them, and what they do (README.md has the table)."""

import os
import sys
import time
import zlib

from . import tensor, wire
from .call import Calls, as_map
from .device_check import DeviceCheck
from .door import open_door
from .engines import Engines, NeedsLoop, end_of
from .environment import set_env
from .errors import Cancelled, EngineFailure, HostError, message_of
from .exits import EXIT_STUCK, leave
from .limits import QUEUED_BYTES_LIMIT, QUEUED_CALLS_LIMIT, SHUTDOWN_GRACE_MS, THREADS_LIMIT
from .pool import Pool
from .ports import Ports
from .results import Parts, Results
from .rtensor import RTensors
from .runner import Runner, run_now
from .segments import STORED_HEADS, Attached
from .stacks import stacks

_SHOWN_MODULES = ("torch", "torch_npu", "numpy", "msgpack")


class Host:
    def __init__(self, link, settings):
        self.link, self.settings = link, settings
        self.where = {"pid": os.getpid(), "process": settings.address}
        self.calls = Calls()
        self.engines = Engines(settings.address.partition("/")[0])
        self.ports = Ports(settings.port_range)
        self.devices = DeviceCheck(settings.granted)
        self.rtensors = RTensors(settings.address, settings.incarnation, settings.rtensor_bytes)
        self.segments = Attached()
        self.results = Results()
        self.stopping = False
        self.seed = None
        self.seeded_numpy = False
        # What the link answers, in no order with the other calls, also while one runs.
        self.immediate = {
            "health": self._health,
            "info": self._info,
            "stacks": self._stacks,
            "alloc_ports": self._alloc_ports,
            "fetch_tensors": self._fetch_tensors,
            "clear_tensors": self._clear_tensors,
            "held": self._held,
            "store_result": self._store_result,
            "send_result": self._send_result,
            "open_door": self._open_door,
        }
        self.runner = Runner(
            link,
            {
                "configure": self._configure,
                "set_env": self._set_env,
                "create_engine": self._create_engine,
                "call": self._call,
                "call_stored": self._call,
                "destroy": self._destroy,
                "shutdown": self._shutdown,
            },
            settings,
        )

    # --- arrival, on the I/O thread ----------------------------------------------------------------------------------------------

    def refusal(self, call):
        """Why this call is not taken at all, or None."""
        if call.method in self.immediate or call.method == "fence":
            return None
        if call.method not in self.runner.handlers:
            known = ", ".join(sorted(self.immediate) + ["fence"] + sorted(self.runner.handlers))
            return HostError("METHOD_NOT_FOUND", "the engine host has no method %.80r; it has: %s" % (call.method, known))
        if self.stopping:
            return HostError("SHUTTING_DOWN", "the engine host is shutting down", retryable=True)
        calls = self.calls
        if calls.queued > QUEUED_CALLS_LIMIT or calls.queued_bytes - call.size > QUEUED_BYTES_LIMIT:
            return HostError(
                "BUSY",
                "%d calls with %d bytes wait already; the limits are %d and %d"
                % (calls.queued - 1, calls.queued_bytes - call.size, QUEUED_CALLS_LIMIT, QUEUED_BYTES_LIMIT),
                {"queued": calls.queued - 1, "limit": QUEUED_CALLS_LIMIT},
                retryable=True,
            )
        return None

    def answer(self, call):
        """Answers an immediate call."""
        try:
            answer = self.immediate[call.method](as_map(wire.decode(call.assembly.take())))
            call.reply_parts(answer.parts) if isinstance(answer, Parts) else call.reply([answer])
        except Exception as error:  # no descriptor left, no memory: the call fails, not the host
            call.fail(error)

    def submit(self, call, parts):
        """Decodes the arguments and queues the call. Tensors that come before numpy was looked for wait for the main thread. `fence` is
        answered here: what came before it on its route is in the queue."""
        call.assembly = None
        if call.method == "fence":
            call.reply([None])
            return
        try:
            if parts[0][:1] in STORED_HEADS:
                parts = self.segments.resolve(parts)
            args = wire.decode_small(parts[0]) if len(parts) == 1 else wire.UNSURE
            if args is not wire.UNSURE:
                call.take_in(as_map(args))
            else:
                has_extensions = wire.scan(parts[0])
                if has_extensions and not tensor.searched:
                    call.parts = parts
                else:
                    call.take_in(as_map(wire.decode(parts, has_extensions)))
        except Exception as error:
            call.fail(error)
            return
        if call.method == "shutdown":
            self._stop_taking(call)
        call.queue()
        self.runner.submit(call)

    def _stop_taking(self, shutdown):
        """From the arrival of `shutdown` on: nothing waiting starts, what runs is told, and the grace is counted."""
        self.stopping = self.link.ending = True
        grace_ms = (shutdown.args or {}).get("graceMs")
        if not isinstance(grace_ms, (int, float)) or isinstance(grace_ms, bool) or not grace_ms >= 0:
            grace_ms = SHUTDOWN_GRACE_MS
        error = Cancelled("the engine host is shutting down")
        for route in [route for line in self.link.lines for route in line.routes.values()]:
            for call in list(route.calls.values()):
                if call is not shutdown:
                    call.abort(error)
        self.link.timers.at(grace_ms, leave, EXIT_STUCK, "an engine did not end within %d ms of `shutdown`" % grace_ms)

    # --- methods of the I/O thread -----------------------------------------------------------------------------------------------

    def _health(self, _args):
        running = list(self.calls.running.items())
        queued = self.calls.queued - 1  # this call is counted too
        health = {"status": "healthy", "engines": list(self.engines.by_name), "busy": bool(running), "queued": max(0, queued)}
        if self.rtensors.kept:
            health["tensors"] = len(self.rtensors.kept)
            health["tensorBytes"] = self.rtensors.bytes
        if self.devices.mismatches:
            health["deviceMismatches"] = list(self.devices.mismatches)
        if running:
            call, since = running[0]
            health["method"] = call.shown
            health["sinceMs"] = round((time.monotonic() - since) * 1000)
        return health

    def _held(self, args):
        return {"held": self.segments.held(args.get("ids"))}

    def _store_result(self, args):
        self.results.store(args.get("token"), args.get("segment"))
        return {}

    def _send_result(self, args):
        return self.results.send(args.get("token"))

    def _open_door(self, args):
        open_door(self.link, args.get("path"), args.get("token"))
        return {}

    def _info(self, _args):
        return {
            "pid": os.getpid(),
            "python": sys.version.split()[0],
            "modules": len(sys.modules),
            "envAtExec": self.settings.env_at_exec,
            "loaded": [name for name in _SHOWN_MODULES if name in sys.modules],
            "devices": self.devices.info(),
        }

    def _stacks(self, _args):
        return stacks(self.runner.loop)

    def _alloc_ports(self, args):
        return self.ports.alloc(args.get("count"))

    def _fetch_tensors(self, args):
        return self.rtensors.fetch(args.get("ids"))

    def _clear_tensors(self, args):
        ids = args.get("ids")
        if not isinstance(ids, (list, type(None))) or not all(isinstance(one, str) for one in ids or []):
            raise HostError("INVALID_ARGUMENT", "`ids` must be a list of strings, or absent for all")
        return self.rtensors.free(ids)

    # --- methods of the main thread ----------------------------------------------------------------------------------------------

    def _configure(self, _call, args):
        """Seeds the random sources of this rank, then tells engines that have `configure`."""
        config, role, rank = args.get("config"), args.get("role"), args.get("rank")
        if not isinstance(config, dict) or not isinstance(role, str) or type(rank) is not int or rank < 0:
            raise HostError("INVALID_ARGUMENT", "`configure` takes {config: map, role: string, rank: whole number from 0}")
        seed = config.get("seed")
        if seed is not None:
            if type(seed) is not int:
                raise HostError("INVALID_ARGUMENT", "`config.seed` must be a whole number, not %.40r" % (seed,))
            import random

            self.seed = (seed + zlib.crc32(("%s%d" % (role, rank)).encode())) % 2**32
            self.seeded_numpy = False
            random.seed(self.seed)
            self._seed_numpy()
        for engine in list(self.engines.by_name.values()):
            hook = getattr(engine.instance, "configure", None)
            if callable(hook):
                hook(config, role, rank)
        return {"seed": self.seed}

    def _seed_numpy(self):
        """numpy is seeded as soon as it is there: after the import of the first engine that uses it, before its constructor."""
        found = sys.modules.get("numpy")
        if found is not None and not tensor.searched:
            tensor.find_numpy()
        if found is not None and self.seed is not None and not self.seeded_numpy:
            found.random.seed(self.seed)
            self.seeded_numpy = True

    def _set_env(self, _call, args):
        return set_env(args.get("env"), self.settings)

    def _create_engine(self, call, args):
        at_once = args.get("maxConcurrency")
        if at_once is not None and (type(at_once) is not int or at_once < 1):
            raise HostError("INVALID_ARGUMENT", "`maxConcurrency` must be a whole number from 1, not %.40r" % (at_once,))
        positional, named = self._arguments(args)
        wire.load_c()
        has_loop = self.runner.loop is not None
        try:
            path, name, code = args.get("engine"), args.get("engineName"), args.get("code")
            engine = self.engines.create(path, name, positional, named, code, has_loop, self._imported)
        except NeedsLoop:
            call.take_in(args)  # it will be run once more
            raise
        if at_once is not None:
            self._bound(engine, at_once)
        self.devices.look()  # what could not be counted before the constructor has started its driver

    def _bound(self, engine, at_once):
        """How many of its calls may run at the same time: as tasks of the loop, or on threads."""
        if engine.is_async:
            self.runner.tasks_limit = at_once
        elif at_once > THREADS_LIMIT:
            raise HostError("INVALID_ARGUMENT", "`maxConcurrency` of a class without `async def` is at most %d, not %d" % (THREADS_LIMIT, at_once))
        elif at_once > 1:
            engine.pool = Pool(self.runner, at_once)

    def _imported(self):
        self._seed_numpy()
        self.devices.look()

    def _call(self, call, args):
        meta = args.get("rpcMeta")
        flags = [meta.get(key, False) for key in ("interrupt", "broadcast")] if isinstance(meta, dict) else []
        if meta is not None and (not flags or not all(isinstance(flag, bool) for flag in flags)):
            raise HostError("INVALID_ARGUMENT", "`rpcMeta` must be a map; its `interrupt` and `broadcast` must be true or false")
        positional, named = self._arguments(args)
        engine = self.engines.find(args.get("engineName"))
        method = self.engines.method(engine, args.get("method"))
        call.engine = engine
        if args.get("remote") is True:
            call.rtensors = self.rtensors
        if args.get("local") is True:  # the caller says that references of this host are among the arguments
            positional, named = self.rtensors.resolve(positional), self.rtensors.resolve(named)
        if meta and meta.get("interrupt"):
            call.watch(lambda: self.runner.interrupt(call))
        if engine.pool is not None:
            return engine.pool.take(call, method, positional, named)
        return method(*positional, **named)

    def _arguments(self, args):
        """Positional and named ones. `stored` says which of them lie in the node's store: [index, fields…] of one, or -1: of the whole list."""
        positional, named, stored = args.get("args"), args.get("kwargs"), args.get("stored")
        for entry in stored if isinstance(stored, list) else ():
            if not isinstance(entry, list) or not entry or type(entry[0]) is not int or not -1 <= entry[0] < max(1, len(positional or ())):
                raise HostError("INVALID_ARGUMENT", "`stored` must be a list of [index, fields…]")
            if not tensor.searched:
                tensor.find_numpy()
            value = wire.decode(self.segments.map(entry[1:]))
            if entry[0] >= 0:
                positional[entry[0]] = value
            else:
                positional, named = _split(value)
        if not isinstance(positional, (list, type(None))) or not isinstance(named, (dict, type(None))):
            raise HostError("INVALID_ARGUMENT", "`args` must be a list and `kwargs` a map")
        return positional or [], named or {}

    def _destroy(self, _call, args):
        return self._run(self._end(self.engines.take(args.get("engineName")), True))

    def _shutdown(self, _call, _args):
        return self._run(self._finish())

    async def _finish(self):
        outcome = await self._end(self.engines.take(None), False)
        self.runner.finish()
        return outcome

    async def _end(self, engines, strict):
        """Ends engines in the order of their creation, all of them whatever one raises. `strict` raises the first failure then."""
        ended, failed = [], []
        for engine in engines:
            try:
                if engine.pool is not None:
                    engine.pool.drain()
                end = end_of(engine)
                value = end() if end else None
                if self.runner.loop is not None and hasattr(type(value), "__await__"):
                    await value
                ended.append(engine.name)
            except Exception as error:
                failed.append((engine.name, error))
            self.runner.abandon(engine)
            self.rtensors.free(engine_name=engine.name)
        if failed and strict:
            name, error = failed[0]
            raise EngineFailure("ENGINE_CALL", error, {"engineName": name, "destroyed": ended, "failed": [one for one, _ in failed]})
        return {"destroyed": ended, "failed": [{"engineName": name, "message": message_of(error)[:1_000]} for name, error in failed]}

    def _run(self, coroutine):
        """To its end when there is no loop, where it never waits; else the runner awaits it."""
        return run_now(coroutine) if self.runner.loop is None else coroutine


def _split(given):
    """Positional and named arguments of a list whose last one may be {"$kwargs": map}."""
    last = given[-1] if isinstance(given, list) and given else None
    if isinstance(last, dict) and list(last) == ["$kwargs"]:
        return given[:-1], last["$kwargs"]
    return given, {}
