"""Errors with stable codes, and the form in which any exception crosses the wire (ErrorWire of @whipray/core)."""

import os

from .limits import ERROR_CAUSES, ERROR_TEXT_CHARS, MAX_FRAME_BYTES

PACKAGE_DIRECTORY = os.path.dirname(os.path.abspath(__file__))
_ROOM = MAX_FRAME_BYTES - 4_096


class HostError(Exception):
    """An error of the host for the caller: `code` is stable, the message says which value, which limit, what to do.

    `retryable` is only set where the call is known not to have run.
    """

    wire_name = "WhiprayError"

    def __init__(self, code, message, details=None, retryable=False):
        super().__init__(message)
        self.code = code
        self.details = details
        self.retryable = retryable


class ProtocolError(HostError):
    """The other side broke the protocol: the link, and with it this process, ends."""


class DecodeError(HostError):
    """Bytes that are no value of the wire: codes DECODE_*."""


class NotSerialisable(HostError):
    """A value that the wire cannot carry; the message has its path, for example `result.x[0]`."""

    def __init__(self, path, reason):
        super().__init__("NOT_SERIALISABLE", "%s %s" % (path, reason), {"path": path})


class Cancelled(HostError):
    """The caller cancelled the call. User code may raise it too, after `whipray_engine.is_cancelled()`."""

    wire_name = "TaskCancelledError"

    def __init__(self, message="the call was cancelled"):
        super().__init__("CANCELLED", message)


class EngineFailure(HostError):
    """User code raised: code ENGINE_CALL, ENGINE_CREATION or ENGINE_IMPORT around the exception."""

    def __init__(self, code, error, details, doing=None):
        text = message_of(error)
        super().__init__(code, text if doing is None else "%s: %s: %s" % (doing, type(error).__name__, text), details)
        self.error = error


def message_of(error):
    """Its text; the name of its class where it has none (KeyboardInterrupt, a plain assert)."""
    try:
        return str(error) or type(error).__name__
    except Exception:  # a user's __str__ may do anything
        return "<%s whose text cannot be made>" % type(error).__name__


def error_bytes(error, where, pack):
    """The body of an ERROR frame. Texts are cut until it fits into one frame."""
    body = b""
    for limit in (ERROR_TEXT_CHARS, 16_384, 4_096, 512):
        body = pack(error_wire(error, where, limit))
        if len(body) <= _ROOM:
            break
    return body


def error_wire(error, where=None, limit=ERROR_TEXT_CHARS, depth=0):
    """Plain fields of any exception, its causes included, each text at most `limit` characters."""
    shown = error.error if isinstance(error, EngineFailure) else error
    wire = {"name": _text(shown.wire_name if isinstance(shown, HostError) else type(shown).__name__, 256, False)}
    if isinstance(error, HostError):
        wire["code"] = error.code
        wire["message"] = _text(message_of(error), limit, False)
        if error.retryable:
            wire["retryable"] = True
        if error.details:
            wire["details"] = {key: _plain(value, limit) for key, value in error.details.items()}
    else:
        wire["code"] = "TASK_FAILED"
        wire["message"] = _text(message_of(error), limit, False)
    if where and depth == 0:
        wire["where"] = where
    if not isinstance(shown, HostError):
        wire["stack"] = _text(_stack(shown), limit, True)
    cause = _cause(shown)
    if cause is not None and depth < ERROR_CAUSES:
        wire["cause"] = error_wire(cause, None, limit, depth + 1)
    return wire


def _cause(error):
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def _stack(error):
    """The traceback without the frames of this package in front: the user's first line comes first."""
    import traceback

    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(PACKAGE_DIRECTORY):
        frame = frame.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, frame or error.__traceback__, chain=False))
    except Exception as broken:  # a user's exception class may do anything
        return "<no traceback: %s>" % type(broken).__name__


def _plain(value, limit):
    if isinstance(value, (list, tuple)):
        return [_plain(one, 256) for one in value[:100]]
    return _text(value, limit, False) if isinstance(value, str) else value


def _text(text, limit, keep_end):
    """Cut with a mark, and without lone surrogates. A traceback keeps its end: the last call is what failed."""
    if len(text) > limit:
        mark = "… [cut, %d characters]" % len(text)
        text = mark + "\n" + text[-limit:] if keep_end else text[:limit] + mark
    return text.encode("utf-8", "replace").decode("utf-8")
