"""The main thread: runs user code, one call after another, and an event loop as soon as there is an async engine."""

import signal
import sys
import threading
from _signal import getsignal  # that of `signal` raises and catches an exception to find that a handler is no enum: 2 µs in each call
from queue import Empty, SimpleQueue
from time import monotonic

from .call import current_call
from .engines import NeedsLoop
from .errors import Cancelled, EngineFailure, HostError
from .limits import ASYNC_CALLS_LIMIT, QUICK_METHODS_LIMIT, QUICK_SECONDS
from .pool import ELSEWHERE

_GENERATOR = type(_ for _ in ())


class Runner:
    """A plain queue until the first async engine; then the same queue on an asyncio loop, whose tasks are the async calls."""

    def __init__(self, link, handlers, settings):
        self.link, self.handlers, self.settings = link, handlers, settings
        self.queue = SimpleQueue()
        self.loop = None
        self.tasks = {}
        self.tasks_limit = ASYNC_CALLS_LIMIT
        self.quick = set()  # methods that took no time when they last ran
        self.held = False  # calls wait because `tasks_limit` tasks run
        self.interruptible = None  # the call whose code the main thread runs right now
        self.interrupt_for = None
        self.finished = False

    # --- from the I/O thread -----------------------------------------------------------------------------------------------------

    def submit(self, call):
        self.queue.put(call)
        loop = self.loop
        if loop is not None:
            loop.call_soon_threadsafe(self._turn)

    def interrupt(self, call):
        """KeyboardInterrupt in the main thread, only if it still runs exactly this call when the signal arrives."""
        if self.interruptible is call:
            self.interrupt_for = call
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    # --- the main thread ---------------------------------------------------------------------------------------------------------

    def run(self):
        """Until `finish`. SystemExit of user code goes through: `sys.exit(3)` in a method ends the process with 3."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        while not self.finished:
            try:
                if self.loop is not None:
                    self.loop.run_forever()
                else:
                    self._take(self._next_call())
            except KeyboardInterrupt:
                pass  # Ctrl-C between two calls, by a handler that user code has installed

    def _next_call(self):
        """Waits for it, and serves the link meanwhile, unless a signal handler of the user's might raise in the middle of that."""
        if getsignal(signal.SIGINT) == self._on_interrupt:
            if not self.queue.empty():
                self.link.lead.pass_by()
            elif not self.link.ended:
                self.link.lead.read_until(self.has_call)
        elif self.queue.empty():
            self.link.write_held()
        return self.queue.get()

    def may_wait(self):
        """Whether this is the main thread with nothing but its queue, and no signal handler that might raise meanwhile."""
        return self.loop is None and threading.get_ident() == self.link.main_thread and getsignal(signal.SIGINT) == self._on_interrupt

    def wait_while(self, condition, seconds):
        """Serves the link for as long as it holds, at most so long; calls that come meanwhile wait."""
        if condition() and not self.link.ended:
            self.link.lead.read_until(lambda: not condition(), monotonic() + seconds)

    def has_call(self):
        return not self.queue.empty()

    def goes_on(self):
        """Whether the main thread is between two calls."""
        return self.loop is None and self.interruptible is None and not self.queue.empty()

    def abandon(self, engine):
        """Cancels what still runs of an engine that was destroyed."""
        for call in list(self.tasks.values()):
            if call.engine is engine:
                self.link.call_soon(call.abort, Cancelled("engine %r was destroyed" % engine.name))

    def finish(self):
        self.finished = True
        if self.loop is not None:
            self.loop.stop()

    def _on_interrupt(self, _signal, _frame):
        """SIGINT, from a terminal or by `interrupt`: it hits a running call, never the host."""
        if self.link.main_in_turn:
            return  # between the last line of a method and its answer
        wanted, self.interrupt_for = self.interrupt_for, None
        if wanted is not None and wanted is not self.interruptible:
            return
        if self.interruptible is None and not self._in_task():
            return
        raise KeyboardInterrupt

    def _in_task(self):
        if self.loop is None:
            return False
        import asyncio

        return asyncio.current_task(self.loop) in self.tasks

    def _turn(self):
        """One call of the queue, as a callback of the loop."""
        if len(self.tasks) >= self.tasks_limit:
            self.held = True
            return
        try:
            call = self.queue.get_nowait()
        except Empty:
            return
        self.loop.call_soon(self._turn)
        self._take(call)

    def _take(self, call):
        if call.shown not in self.quick:
            self.link.write_held()
        self.link.wait_for_room()
        if call.start():
            began = monotonic()
            self._execute(call)
            self._note(call.shown, monotonic() - began)

    def _note(self, method, seconds):
        """Remembers which methods are quick."""
        if seconds > QUICK_SECONDS:
            self.quick.discard(method)
        elif len(self.quick) < QUICK_METHODS_LIMIT:
            self.quick.add(method)

    def _execute(self, call):
        current_call.set(call)
        try:
            try:
                self.interruptible = call
                box = [self.handlers[call.method](call, call.take_args())]
                if type(box[0]) is _GENERATOR and not self._is_async(call):
                    self.stream_here(call, box.pop())
                    return
            finally:
                self.interruptible = None
        except NeedsLoop:
            current_call.set(None)
            self._start_loop(call)
        except SystemExit:
            raise
        except BaseException as error:
            self.interruptible = None
            call.fail(self.failure(call, error))
        else:
            if box[0] is not ELSEWHERE:
                self.deliver(call, box)
        finally:
            current_call.set(None)
            if "bdb" in sys.modules:
                self._take_interrupts_back()

    def _take_interrupts_back(self):
        """pdb keeps SIGINT after `continue`, for a Ctrl-C that comes back to it: in the call that it was in, not in later ones."""
        if isinstance(getattr(signal.getsignal(signal.SIGINT), "__self__", None), sys.modules["bdb"].Bdb):
            signal.signal(signal.SIGINT, self._on_interrupt)

    def failure(self, call, error):
        """What the caller is told of an exception of user code."""
        if isinstance(error, HostError):
            return error
        if call.aborted is not None and (isinstance(error, KeyboardInterrupt) or type(error).__name__ == "CancelledError"):
            return call.aborted
        details = {"method": call.shown, "type": "%s.%s" % (type(error).__module__, type(error).__qualname__)}
        if call.engine is not None:
            details["engineName"] = call.engine.name
        return EngineFailure("ENGINE_CALL", error, details)

    def _is_async(self, call):
        return call.engine is not None and call.engine.is_async

    def stream_here(self, call, generator):
        """Sends its items, and holds this thread until the caller has taken them."""
        run_now(self._stream(call, generator, holds=True))

    def deliver(self, call, box):
        """Answers with what the method returned, at once or when it is there."""
        value, kind = box[0], type(box[0])  # of the class: proxies answer for any name
        futures = sys.modules.get("concurrent.futures._base")
        if self.loop is not None and hasattr(kind, "__await__"):
            self._spawn(call, self._await(call, box.pop()))
        elif self.loop is not None and (kind is _GENERATOR or hasattr(kind, "__anext__")):
            self._spawn(call, self._stream(call, box.pop()))
        elif futures is not None and isinstance(value, futures.Future):
            box.clear()
            self._follow(call, value)
        else:
            del value
            call.reply(box)

    # --- futures -----------------------------------------------------------------------------------------------------------------

    def _follow(self, call, future):
        """Answers when the future is done, on the thread that completes it."""

        def done(_):
            try:
                box = [future.result()]
            except BaseException as error:
                call.fail(self.failure(call, error))
            else:
                call.reply(box)

        call.watch(future.cancel)
        future.add_done_callback(done)

    # --- async engines -----------------------------------------------------------------------------------------------------------

    def _start_loop(self, call):
        """From now on the main thread runs a loop; the call that needs it comes first, then the queue."""
        import asyncio

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.call_soon(self._execute, call)
        loop.call_soon(self._turn)
        self.loop = loop

    def _spawn(self, call, coroutine):
        task = self.loop.create_task(coroutine)
        self.tasks[task] = call
        task.add_done_callback(self._task_done)
        call.watch(lambda: self.loop.call_soon_threadsafe(task.cancel))

    def _task_done(self, task):
        call = self.tasks.pop(task)
        if task.cancelled():  # before its first step
            call.fail(call.aborted or Cancelled())
        elif task.exception() is not None:
            call.fail(self.failure(call, task.exception()))
        if self.held:
            self.held = False
            self.loop.call_soon(self._turn)

    async def _await(self, call, awaitable):
        current_call.set(call)
        try:
            box = [await awaitable]
        except SystemExit:
            raise
        except BaseException as error:
            call.fail(self.failure(call, error))
        else:
            call.reply(box)

    async def _stream(self, call, generator, holds=False):
        """Sends the items of any generator. A caller that takes nothing holds the thread (`holds`), else only this call."""
        current_call.set(call)
        stream = call.open_stream(self.settings) if call.wants_stream else None
        items, count = [], 0
        try:
            try:
                ended, box = await _next(generator)
                while not ended:
                    if call.aborted is not None:
                        raise call.aborted
                    if stream is None:
                        items += box
                    elif holds:
                        stream.put(call.encode(box, "item[%d]" % count))
                    else:
                        await stream.put_async(call.encode(box, "item[%d]" % count))
                    count += 1
                    ended, box = await _next(generator)
            finally:
                await _close(generator)
        except SystemExit:
            raise
        except BaseException as error:
            self.interruptible = None
            call.fail(self.failure(call, error))
        else:
            if stream is not None and box[0] is None:
                call.end([])
            else:
                call.reply([items] if stream is None else box)


async def _next(generator):
    """(whether it has ended, list of its next item or of its return value)."""
    if hasattr(generator, "__anext__"):
        try:
            return False, [await generator.__anext__()]
        except StopAsyncIteration:
            return True, [None]
    try:
        return False, [next(generator)]
    except StopIteration as stop:
        return True, [stop.value]


async def _close(generator):
    if hasattr(generator, "aclose"):
        await generator.aclose()
    elif hasattr(generator, "close"):
        generator.close()


def run_now(coroutine):
    """Runs to its end what never waits: where there is no loop, coroutines of this package hold the thread instead."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("waited without a loop")
