"""The four engines. None reads a file, only EvalEngine is told labels: images come as tensors from the controller."""
import hashlib
import os

import numpy as np
from process_group import ProcessGroup

SHAPE = (65, 10)  # of the policy, a softmax of 64 pixels × weights; the last row is the bias of the ten digits
TRAINING = {"learning_rate": 1.0, "momentum": 0.9, "epochs": 4, "clip": 0.2, "timeout_s": 30.0}


def numbers(values, shape, highest):
    """Whole numbers 0..highest from an array of any shape, or from bytes."""
    found = np.frombuffer(values, np.uint8) if isinstance(values, bytes) else np.asarray(values)
    if found.size == 0 or not np.isin(found, range(highest + 1)).all():
        raise ValueError(f"want whole numbers 0..{highest}, got shape {found.shape} with others in it")
    return found.astype(int).reshape(shape)


def inputs(images):
    """The 64 pixels 0..16 of each image as 0..1, and a one for the bias."""
    return np.pad(numbers(images, (-1, 64), 16) / 16, ((0, 0), (0, 1)), constant_values=1)


def log_softmax(scores):
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


def clipped_loss(policy, clip, x, answers, advantages, old_logprobs):
    """PPO's loss summed over all answers, and its gradient."""
    logprobs = log_softmax(x @ policy)
    ratio = np.exp(np.take_along_axis(logprobs, answers, 1) - old_logprobs)
    gain, limit = ratio * advantages, np.clip(ratio, 1 - clip, 1 + clip) * advantages
    slope = np.where(gain <= limit, -gain, 0)[..., None]  # by each answer's log probability: none beyond the clip
    return -np.minimum(gain, limit).sum(), x.T @ (slope * (np.eye(10)[answers] - np.exp(logprobs)[:, None])).sum(axis=1)


class TrainEngine:
    """One rank (RANK of WORLD_SIZE). Its calls are collective: make each on all ranks at the same time."""

    def __init__(self, config=None):
        self.config, self.group = {**TRAINING, **(config or {})}, None

    def create_process_group(self):
        rank, world_size, port = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
        self.group = ProcessGroup(rank, world_size, (os.environ["MASTER_ADDR"], port), self.config["timeout_s"])

    def initialize(self, seed):
        self.version, self.velocity, self.policy = 0, 0, np.random.default_rng(seed).normal(0, 0.01, SHAPE)

    def train_batch(self, images, answers, advantages, old_logprobs):
        """Trains on this rank's shard: n images, n × group_size of the others. All ranks end with the same bits. If it
        raises, this rank's policy has not changed, but all need a new process group."""
        policy, velocity = self.policy, self.velocity
        try:
            x = inputs(images)
            answers = numbers(answers, (len(x), -1), 9)
            floats = np.asarray_chkfinite([advantages, old_logprobs], float).reshape(2, *answers.shape)
            for _ in range(self.config["epochs"]):
                loss, gradient = clipped_loss(policy, self.config["clip"], x, answers, *floats)
                samples, *sums = self.group.all_reduce([answers.size, loss, *gradient.ravel()])
                loss, gradient = sums[0] / samples, np.reshape(sums[1:], SHAPE) / samples
                velocity = self.config["momentum"] * velocity + gradient
                policy = policy - self.config["learning_rate"] * velocity
        except BaseException:
            self.group.close()  # the others shall not wait for this rank
            raise
        self.version, self.policy, self.velocity = self.version + 1, policy, velocity
        return {"version": self.version, "loss": float(loss), "grad_norm": float(np.linalg.norm(gradient)),
                "samples": int(samples), "weights_checksum": hashlib.sha256(policy.tobytes()).hexdigest()[:16]}

    def weights(self):
        return {"version": self.version, "arrays": {"weights": self.policy}}

    def destroy(self):
        if self.group:
            self.group.close()


class PolicyEngine:
    """What the others have in common: they hold the policy that they were sent."""

    def __init__(self, config=None):
        self.random, self.version = np.random.default_rng((config or {}).get("seed", 0)), None

    def update_weights(self, version, arrays):
        """Takes the versions one by one, none twice, none skipped (a new engine may begin anywhere)."""
        if version < 0 or (self.version is not None and version != self.version + 1):
            raise ValueError(f"version {version} cannot follow version {self.version}")
        self.version, self.policy = version, np.asarray_chkfinite(arrays["weights"], float).reshape(SHAPE).copy()

    def infer(self, images):
        if self.version is None:
            raise RuntimeError("no policy yet: call update_weights first")
        return log_softmax(inputs(images) @ self.policy)


class RolloutEngine(PolicyEngine):
    def generate(self, images, group_size=8):
        """Yields group after group of answers; `question` is the index of the image."""
        version = self.version
        for question, logprobs in enumerate(self.infer(images)):
            answers = self.random.choice(10, group_size, p=np.exp(logprobs)).astype(np.int32)
            yield {"question": question, "answers": answers, "logprobs": logprobs[answers], "version": version}


class ReferenceEngine(PolicyEngine):
    def logprobs(self, images, answers):
        """How likely the policy from before the training, the only one that this engine is sent, was to answer so."""
        logprobs = self.infer(images)
        return np.take_along_axis(logprobs, numbers(answers, (len(logprobs), -1), 9), 1)


class EvalEngine(PolicyEngine):
    def accuracy(self, images, labels):
        right = self.infer(images).argmax(axis=1) == numbers(labels, -1, 9)
        return {"accuracy": float(right.mean()), "version": self.version, "n": len(right)}
