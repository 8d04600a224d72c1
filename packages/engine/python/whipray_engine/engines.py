"""The engines of this process by name: importing, constructing, looking up methods, destroying. Main thread only."""

import sys

from .errors import EngineFailure, HostError
from .limits import ENGINE_NAME_CHARS
from .module_code import check_form, compare

_ASYNC_CODE = 0x80 | 0x100 | 0x200  # CO_COROUTINE, CO_ITERABLE_COROUTINE, CO_ASYNC_GENERATOR


class NeedsLoop(Exception):
    """The class is async: the main thread must run its event loop before the constructor."""


class Engine:
    __slots__ = ("name", "instance", "is_async", "pool")

    def __init__(self, name, instance, is_async):
        self.name, self.instance, self.is_async = name, instance, is_async
        self.pool = None  # threads for its methods; without it the main thread runs them


class Engines:
    def __init__(self, node):
        self.node = node
        self.by_name = {}

    def create(self, path, name, args, kwargs, code, has_loop, after_import):
        """Imports and constructs. Any class will do: none of ours needs to be its base. `code` is the controller's module file.

        Raises INVALID_ARGUMENT, ENGINE_CREATION, ENGINE_EXISTS, CODE_MISMATCH, ENGINE_IMPORT; NeedsLoop for a class with an
        `async def` while there is no loop.
        """
        if not isinstance(path, str):
            raise HostError("ENGINE_CREATION", "`engine` must be an import path like 'module.Class', not a %s" % type(path).__name__)
        if not path:
            raise HostError("INVALID_ARGUMENT", "`engine` is empty; it must be an import path like 'module.Class'")
        if not isinstance(name, str) or not 0 < len(name) <= ENGINE_NAME_CHARS:
            raise HostError("INVALID_ARGUMENT", "`engineName` must be a string of 1 to %d characters" % ENGINE_NAME_CHARS)
        if name in self.by_name:
            raise HostError("ENGINE_EXISTS", "an engine %r exists; destroy it first, or choose another name" % name, {"engineName": name})
        check_form(code)
        cls = _import_class(path, code, self.node)
        after_import()
        is_async = is_async_class(cls)
        if is_async and not has_loop:
            raise NeedsLoop
        try:
            instance = cls(*args, **kwargs)
        except (SystemExit, HostError):
            raise
        except BaseException as error:
            doing = "constructor of %s failed" % path
            raise EngineFailure("ENGINE_CREATION", error, {"engine": path, "engineName": name}, doing) from None
        engine = self.by_name[name] = Engine(name, instance, is_async)
        return engine

    def find(self, name):
        """The engine of that name; without a name the first one. Raises ENGINE_NOT_FOUND."""
        engine = self.by_name.get(name) if isinstance(name, str) else next(iter(self.by_name.values()), None) if name is None else None
        if engine is None:
            names = list(self.by_name)
            raise HostError(
                "ENGINE_NOT_FOUND", "no engine %.80r; there are: %s" % (name, ", ".join(names)[:1_000] or "none"), {"engines": names[:100]}
            )
        return engine

    def method(self, engine, method):
        """The bound method. Raises INVALID_ARGUMENT, METHOD_NOT_FOUND (private names and attributes that are no method, too)."""
        if not isinstance(method, str):
            raise HostError("INVALID_ARGUMENT", "`method` must be a string, not a %s" % type(method).__name__)
        if method and not method.startswith("_"):
            try:
                found = getattr(engine.instance, method)
            except AttributeError:
                found = None
            if callable(found):
                return found
        raise HostError(
            "METHOD_NOT_FOUND",
            "engine %r (%s) has no public method %.80r" % (engine.name, type(engine.instance).__name__, method),
            {"engineName": engine.name, "method": method[:80]},
        )

    def take(self, name):
        """The engines to destroy, already dropped: the one of that name, or all in the order of their creation."""
        chosen = [self.find(name)] if name is not None else list(self.by_name.values())
        for engine in chosen:
            del self.by_name[engine.name]
        return chosen


def end_of(engine):
    """The engine's `destroy`, else its `close`, else None."""
    for name in ("destroy", "close"):
        end = getattr(engine.instance, name, None)
        if callable(end):
            return end
    return None


def is_async_class(cls):
    """Whether the class or one of its bases has an `async def`."""
    for base in cls.__mro__:
        for member in vars(base).values():
            member = getattr(member, "__func__", member)  # static and class methods
            member = getattr(member, "__wrapped__", member)
            if getattr(getattr(member, "__code__", None), "co_flags", 0) & _ASYNC_CODE:
                return True
    return False


def _import_class(path, code, node):
    module_name, colon, qualified = path.partition(":")
    if not colon:
        module_name, _, qualified = path.rpartition(".")
    details = {"engine": path}
    if not module_name or not qualified:
        raise HostError("ENGINE_IMPORT", "%r is no import path: write 'module.Class' or 'module:Class'" % path, details)
    import importlib

    try:
        if code is not None:
            compare(module_name, code, node)
        found = importlib.import_module(module_name)
        for name in qualified.split("."):
            found = getattr(found, name)
    except HostError:
        raise
    except SystemExit as error:
        raise EngineFailure("ENGINE_IMPORT", error, details, "cannot import %s" % path) from None
    except Exception as error:
        raise EngineFailure("ENGINE_IMPORT", error, dict(details, path=sys.path[:50]), "cannot import %s" % path) from None
    if not isinstance(found, type):
        raise HostError("ENGINE_IMPORT", "%s is a %s, not a class" % (path, type(found).__name__), details)
    return found
