"""`set_env`: variables for code that reads them late. What only acts before the interpreter starts is refused."""

import os

from .errors import HostError

LOADER_VARIABLES = frozenset(("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PYTHONPATH", "PYTHONHOME"))


def set_env(env, settings):
    """Changes os.environ, all or nothing. Raises INVALID_ARGUMENT, INVALID_ENV."""
    if not isinstance(env, dict):
        raise HostError("INVALID_ARGUMENT", "`env` must be a map of strings, not a %s" % type(env).__name__)
    for name, value in env.items():
        _check(name, value, settings)
    os.environ.update(env)
    return {"appliedLate": True}


def _check(name, value, settings):
    if not isinstance(value, str):
        raise HostError("INVALID_ARGUMENT", "environment variable %.80r must be a string, not a %s" % (name, type(value).__name__))
    if not name or "=" in name or "\0" in name or "\n" in name or "\0" in value:
        raise _invalid(name, "has a name that is empty or holds '=', NUL or newline, or a value with NUL")
    if name.startswith("WHIPRAY_"):
        raise _invalid(name, "belongs to Whipray")
    if name in LOADER_VARIABLES:
        raise _invalid(name, "only acts when the interpreter starts: set it before the first engine is created")
    if name in settings.protected:
        granted = settings.env_at_exec.get(name)
        shown = "granted is %r" % granted if granted is not None else "none was granted"
        raise _invalid(name, "shows the granted devices and is fixed when the interpreter starts: %s" % shown, granted=granted)


def _invalid(name, rule, **details):
    return HostError("INVALID_ENV", "environment variable %.80r %s" % (name, rule), dict(details, name=name[:80]))
