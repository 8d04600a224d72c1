import torch  # noqa: F401  (the host looks once it is there)


class Engine:
    pass
