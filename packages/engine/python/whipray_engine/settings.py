"""What the launcher says through the environment, read once at the start (README.md lists the variables)."""

import os

from .device_check import granted_devices
from .limits import KEPT_BYTES, STREAM_BUFFER_BYTES, STREAM_STALL_MS

DEVICE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES")
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
TOKEN_BYTES = 4_096


class SettingsError(Exception):
    """A variable is missing or wrong; the message names it."""


class Settings:
    """`environ` is the environment as it was at exec: `info` shows the part of it that is ours or a device's."""

    def __init__(self, environ):
        self.socket_path = _needed(environ, "WHIPRAY_ENGINE_SOCKET")
        if self.socket_path.startswith("unix:"):  # the URL of PROTOCOL.md's transports is fine, too
            self.socket_path = self.socket_path[len("unix:") :]
        self.address = _needed(environ, "WHIPRAY_ENGINE_ADDRESS")
        self.token_path = _needed(environ, "WHIPRAY_ENGINE_TOKEN_FILE")
        self.cluster = environ.get("WHIPRAY_CLUSTER") or None
        self.epoch = _number(environ, "WHIPRAY_EPOCH", None)
        self.stream_buffer_bytes = _number(environ, "WHIPRAY_STREAM_BUFFER_BYTES", STREAM_BUFFER_BYTES)
        self.stream_stall_ms = _number(environ, "WHIPRAY_STREAM_STALL_MS", STREAM_STALL_MS)
        self.rtensor_bytes = _number(environ, "WHIPRAY_RTENSOR_BYTES", KEPT_BYTES)
        self.granted = granted_devices(environ.get("WHIPRAY_DEVICES"))
        self.port_range = _port_range(environ.get("WHIPRAY_PORT_RANGE"))
        protected = environ.get("WHIPRAY_PROTECTED_ENV", ",".join(DEVICE_VARIABLES))
        self.protected = tuple(name.strip() for name in protected.split(",") if name.strip())
        shown = set(DEVICE_VARIABLES) | set(self.protected)
        self.env_at_exec = {key: value for key, value in environ.items() if key.startswith("WHIPRAY_") or key in shown}
        self.incarnation = "inc_" + "".join(ALPHABET[byte % 36] for byte in os.urandom(16))

    def token(self):
        try:
            with open(self.token_path, "rb") as file:
                token = file.read(TOKEN_BYTES + 1).strip()
        except OSError as error:
            raise SettingsError("WHIPRAY_ENGINE_TOKEN_FILE cannot be read: %s" % error) from None
        if not token or len(token) > TOKEN_BYTES:
            raise SettingsError("%s (WHIPRAY_ENGINE_TOKEN_FILE) must hold 1 to %d bytes" % (self.token_path, TOKEN_BYTES))
        return token.decode("utf-8", "replace")


def _needed(environ, name):
    if not environ.get(name):
        raise SettingsError("%s is not set: the host is started by a worker, not by hand" % name)
    return environ[name]


def _number(environ, name, default):
    text = environ.get(name)
    if not text:
        return default
    if not text.isdecimal() or len(text) > 15:
        raise SettingsError("%s must be a whole number, not %.40r" % (name, text))
    return int(text)


def _port_range(text):
    if not text:
        return None
    low, _, high = text.partition("-")
    if not (low.isdecimal() and high.isdecimal() and 1 <= int(low) <= int(high) <= 65_535):
        raise SettingsError("WHIPRAY_PORT_RANGE must be like 20000-20999, not %.40r" % text)
    return range(int(low), int(high) + 1)
