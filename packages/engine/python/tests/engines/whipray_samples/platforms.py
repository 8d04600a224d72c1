"""Platform objects as AReaL has them (areal.md 4), which must not leave their process."""


class CudaPlatform:
    device_name, ray_device_key, device_control_env_var = "NVIDIA", "GPU", "CUDA_VISIBLE_DEVICES"


class LazyPlatform:
    """Stands for the platform: whatever is asked of it falls through."""

    def __getattr__(self, name):
        return getattr(CudaPlatform(), name, lambda *args: self)


class Engine:
    def platform(self):
        return {"device": "GPU", "platform": CudaPlatform()}

    def lazy(self):
        return [LazyPlatform()]

    def bare(self):
        return LazyPlatform()

    def items(self):
        yield 1
        yield CudaPlatform()


class AsyncEngine(Engine):
    async def later(self):
        return [CudaPlatform()]
