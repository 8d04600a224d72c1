import torch  # noqa: F401


class Uses:
    pass
