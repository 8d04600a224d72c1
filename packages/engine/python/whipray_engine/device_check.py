"""Whether the engine sees the devices that it was granted: asked of torch once the user's code has imported it, never before."""

import sys


def granted_devices(text):
    """`GPU=2,NPU=*` of WHIPRAY_DEVICES as a map; empty: no device at all; None: nobody says what is granted (isolation "none").

    `*` becomes None: a NOSET flag left that kind's variable to the user, so what is seen says nothing.
    """
    if text is None:
        return None
    granted = {}
    for part in text.split(","):
        resource, equals, count = part.partition("=")
        if resource and equals and count.isdecimal():
            granted[resource] = int(count)
        elif resource and count == "*":
            granted[resource] = None
    return granted


# What vendors add to torch (torch_npu, intel XPU, torch_mlu, torch_musa, habana): asked only when the engine has started it.
_BACKENDS = (("npu", "NPU"), ("xpu", "GPU"), ("mlu", "GPU"), ("musa", "GPU"), ("hpu", "HPU"))


class DeviceCheck:
    """Compares each kind once, and says on stderr what differs. It starts no driver: what would, is not asked."""

    def __init__(self, granted):
        self.granted = granted
        self.seen = {}
        self.mismatches = []

    def look(self):
        if self.granted is None:
            return
        for resource, count in _counters().items():
            wanted = self.granted.get(resource, 0)
            if resource in self.seen or wanted is None:
                continue
            try:
                seen = count()
            except Exception as error:  # a broken driver is the engine's to report, in its own words
                sys.stderr.write("whipray: the %s devices cannot be counted: %s\n" % (resource, error))
                seen = None
            self.seen[resource] = seen
            if seen is not None and seen != wanted:
                text = "%d %s were granted, but this process sees %d" % (wanted, resource, seen)
                self.mismatches.append(text)
                sys.stderr.write("whipray: %s\n" % text)
        sys.stderr.flush()

    def info(self):
        return {"granted": self.granted, "seen": dict(self.seen), "mismatches": list(self.mismatches)}


def _counters():
    """Resource → how to count its devices, for the libraries that are loaded and can count without a context of their own."""
    counters = {}
    torch = sys.modules.get("torch")
    version = getattr(torch, "version", None)
    cuda = getattr(torch, "cuda", None)
    if getattr(version, "cuda", None) or getattr(version, "hip", None):
        # Newer ones ask NVML or amdsmi; older ones would initialise CUDA, after which a fork of the engine could not use it.
        if hasattr(cuda, "_device_count_nvml") or _initialized(cuda):
            counters["GPU"] = cuda.device_count
    for name, resource in _BACKENDS:
        backend = getattr(torch, name, None)
        if resource not in counters and _initialized(backend):
            counters[resource] = backend.device_count
    return counters


def _initialized(library):
    asked = getattr(library, "is_initialized", None)
    return callable(asked) and bool(asked())
