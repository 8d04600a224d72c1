"""A module of the controller's is the same file here, or is not imported (design.md, mechanism 14)."""

from .errors import HostError


def check_form(code):
    """`code` of `create_engine`: None, or the module file's `hash` (SHA-256, hex) and `path` at the controller. Raises INVALID_ARGUMENT."""
    if code is None or (isinstance(code, dict) and isinstance(code.get("hash"), str) and isinstance(code.get("path"), str)):
        return
    raise HostError("INVALID_ARGUMENT", "`code` must be a map with `hash` and `path`, or absent")


def compare(module, code, node):
    """Finds the module as its import will. Raises CODE_MISMATCH when its file is missing or another one, and whatever the import of a
    parent package raises.
    """
    from hashlib import sha256
    from importlib.util import find_spec

    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # a parent package
        spec = None
    except ValueError:  # imported already by something that is no file
        return
    path = spec.origin if spec is not None and spec.has_location else None
    if path is None:
        raise _mismatch("%s, which the controller has at %s, does not exist on %s" % (module, code["path"][:1_000], node), node, code["path"])
    with open(path, "rb") as file:
        if sha256(file.read()).hexdigest() != code["hash"]:
            raise _mismatch("%s on %s differs from the controller's %s" % (path, node, code["path"][:1_000]), node, path)


def _mismatch(text, node, path):
    return HostError("CODE_MISMATCH", text + ": put the same code there", {"node": node, "path": path})
