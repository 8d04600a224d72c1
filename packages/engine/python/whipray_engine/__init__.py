"""Whipray's engine host: a Python process that holds the user's engines and answers its worker over a unix socket (README.md).

Started as `python -m whipray_engine`. For user code: `is_cancelled`, `Cancelled`, `Tensor`, `ObjectRef`, `ActorHandle`.
"""

from .call import is_cancelled
from .errors import Cancelled
from .tensor import ActorHandle, ObjectRef, Tensor

__all__ = ["ActorHandle", "Cancelled", "ObjectRef", "Tensor", "is_cancelled"]
