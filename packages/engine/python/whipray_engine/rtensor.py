"""Tensors that stay where they were made (AReaL: RTensor): what calls with `remote` return, kept here until they are freed."""

import sys
import threading
from math import prod

from . import tensor
from .errors import HostError, NotSerialisable
from .limits import KEPT_TENSORS_LIMIT, MAX_DEPTH, TENSORS_A_FETCH

PREFIX = "rtensor_"


class RTensors:
    """The store of one engine host. A reference is an ObjectRef whose id names dtype and shape: `rtensor_k3x9ab2c_7:f4:2x3`.

    No two hosts give the same id: what asks an engine's successor is told that the tensor is gone. Kept is a copy of the bytes, which nobody can write to; each fetch sends that memory without another copy. Any thread.
    """

    def __init__(self, address, incarnation, limit_bytes):
        self.address, self.incarnation, self.limit_bytes = address, incarnation, limit_bytes
        self.prefix = PREFIX + incarnation[-8:]
        self.lock = threading.Lock()
        self.kept = {}  # id → (Tensor of bytes, name of the engine that made it)
        self.bytes = 0
        self.made = 0

    def keep(self, value, engine_name, root="result"):
        """(`value` with references for its arrays, ids that were made). All or nothing. Raises RTENSOR_LIMIT, NOT_SERIALISABLE."""
        ids = []
        try:
            return self._keep(value, engine_name, ids, root, 0), ids
        except BaseException:
            self.free(ids)
            raise

    def _keep(self, value, engine_name, ids, path, depth):
        if isinstance(value, dict) and depth < MAX_DEPTH:
            return {key: self._keep(one, engine_name, ids, "%s.%s" % (path, key), depth + 1) for key, one in value.items()}
        if isinstance(value, (list, tuple)) and depth < MAX_DEPTH:
            return [self._keep(one, engine_name, ids, "%s[%d]" % (path, index), depth + 1) for index, one in enumerate(value)]
        if not _is_tensor(value):
            return value
        try:
            dtype, shape, data = _snapshot(value)
        except TypeError as error:
            raise NotSerialisable(path, str(error)) from None
        return self._put(tensor.Tensor(dtype, shape, data), engine_name, ids)

    def _put(self, one, engine_name, ids):
        size = len(one.data)
        with self.lock:
            if self.bytes + size > self.limit_bytes or len(self.kept) >= KEPT_TENSORS_LIMIT:
                raise HostError(
                    "RTENSOR_LIMIT",
                    "%d tensors with %d bytes are kept here, one of %d more does not fit: the limits are %d and %d. "
                    "Free what is not needed any more (clearTensors)"
                    % (len(self.kept), self.bytes, size, KEPT_TENSORS_LIMIT, self.limit_bytes),
                    {"tensors": len(self.kept), "bytes": self.bytes, "limitBytes": self.limit_bytes, "limit": KEPT_TENSORS_LIMIT},
                )
            self.made += 1
            name = "%s_%d:%s:%s" % (self.prefix, self.made, one.dtype, "x".join(map(str, one.shape)))
            self.kept[name] = (one, engine_name)
            self.bytes += size
        ids.append(name)
        return tensor.ObjectRef(name, self.address, self.incarnation, size, None)

    def fetch(self, ids):
        """The tensors of these ids, in their order. Raises RTENSOR_NOT_FOUND naming all that are missing, INVALID_ARGUMENT."""
        if not isinstance(ids, list) or not 0 < len(ids) <= TENSORS_A_FETCH or not all(isinstance(one, str) for one in ids):
            raise HostError("INVALID_ARGUMENT", "`ids` must be a list of 1 to %d strings" % TENSORS_A_FETCH)
        with self.lock:
            found = [self.kept.get(one) for one in ids]
        missing = [one for one, entry in zip(ids, found) if entry is None]
        if missing:
            raise _not_found(missing, self.address)
        return [entry[0] for entry in found]

    def free(self, ids=None, engine_name=None):
        """Forgets these ids, those of an engine, or all; what is gone already is no error. How many went, and their bytes."""
        with self.lock:
            before = self.bytes
            if ids is None:
                ids = [one for one, (_, engine) in self.kept.items() if engine_name is None or engine == engine_name]
            gone = [entry for entry in (self.kept.pop(one, None) for one in ids) if entry is not None]
            self.bytes -= sum(len(one.data) for one, _ in gone)
            return {"cleared": len(gone), "bytes": before - self.bytes}

    def resolve(self, value):
        """`value` with read-only arrays, in the kept memory itself, for references of this host. Raises RTENSOR_NOT_FOUND."""
        if isinstance(value, dict):
            return {key: self.resolve(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.resolve(one) for one in value]
        if not isinstance(value, tensor.ObjectRef) or not value.fields[0].startswith(PREFIX):
            return value
        name, owner = value.fields[:2]
        if owner != self.address:
            raise _not_found([name], owner)
        one = self.fetch([name])[0]
        return tensor.extension_from(tensor.TENSOR, [one.dtype, list(one.shape), 1], [None, one.data])


def _not_found(missing, owner):
    shown = ", ".join("%.80s" % one for one in missing[:TENSORS_A_FETCH])
    return HostError("RTENSOR_NOT_FOUND", "no tensor %s on %.80s: it was freed, or its engine destroyed" % (shown, owner), {"missing": missing[:TENSORS_A_FETCH]})


def _is_tensor(value):
    numpy = sys.modules.get("numpy")
    if isinstance(value, tensor.Tensor) or (hasattr(numpy, "ndarray") and isinstance(value, numpy.ndarray)):
        return True
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def _snapshot(value):
    """dtype, shape and a copy of the bytes. Raises TypeError with the reason."""
    sink = tensor.Sink(list)
    _, (dtype, shape, place) = sink.extend(value)
    data = place if isinstance(place, bytes) else bytes(sink.parts[place])
    if prod(shape) * tensor.ITEM_BYTES[dtype] != len(data):
        raise TypeError("has %d bytes, which its shape %r of %s does not" % (len(data), shape, dtype))
    return dtype, shape, data
