"""The example's loop in plain Python: the same calls, in the same order, as the TypeScript controller makes."""
import contextlib
import multiprocessing
import os
import random
import socket
import threading
from pathlib import Path

import numpy as np
from engines import EvalEngine, ReferenceEngine, RolloutEngine, TrainEngine

RANKS, QUESTIONS, GROUP, STEPS = 2, 256, 8, 30
DATA = Path(__file__).resolve().parent.parent / "data" / "digits.csv"


def read_data():
    """(images, labels) of the training rows and of the held-out rows: every seventh row is held out."""
    table = np.loadtxt(DATA, delimiter=",", dtype=np.uint8)
    held_out = np.arange(len(table)) % 7 == 6
    return [(rows[:, :64], rows[:, 64]) for rows in (table[~held_out], table[held_out])]


def free_port():
    """Below the ports that the kernel gives to clients: a rank that waits for rank 0 there cannot meet itself."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            port = random.randrange(20_000, 32_000)
            probe.bind(("127.0.0.1", port))
            return port


def serve_rank(pipe, environment, config):
    """A process with a training engine and a reference engine in it: does what it is told, one call after the other."""
    os.environ.update(environment)
    engines = {"actor": TrainEngine(config)}
    while True:
        engine, method, arguments = pipe.recv()
        if method == "create":
            engines[engine] = ReferenceEngine(*arguments)
            pipe.send((None, None))
            continue
        try:
            pipe.send((getattr(engines[engine], method)(*arguments), None))
        except Exception as error:
            pipe.send((None, error))


class Ranks:
    """Training ranks in processes of their own; call(method, arguments of each) calls all at the same time."""

    def __init__(self, count=RANKS, **config):
        context, port = multiprocessing.get_context("spawn"), free_port()
        self.pipes, self.processes = [], []
        for rank in range(count):
            mine, theirs = context.Pipe()
            environment = {"RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            environment = {name: str(value) for name, value in environment.items()}
            process = context.Process(target=serve_rank, args=(theirs, environment, config), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(mine)
            self.processes.append(process)

    def start(self, rank, method, *arguments, engine="actor"):
        self.pipes[rank].send((engine, method, arguments))

    def outcome(self, rank, timeout_s=30):
        """(result, None) or (None, exception) of the call that was started."""
        assert self.pipes[rank].poll(timeout_s), f"rank {rank} did not answer in {timeout_s} s"
        return self.pipes[rank].recv()

    def outcomes(self, method, arguments=None, engine="actor"):
        arguments = arguments or [()] * len(self.pipes)
        for rank, each in enumerate(arguments):
            self.start(rank, method, *each, engine=engine)
        return [self.outcome(rank) for rank in range(len(arguments))]

    def call(self, method, arguments=None, engine="actor"):
        results = []
        for result, error in self.outcomes(method, arguments, engine):
            if error:
                raise error
            results.append(result)
        return results

    def close(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()
        for pipe in self.pipes:
            pipe.close()


@contextlib.contextmanager
def ranks(count=RANKS, **config):
    started = Ranks(count, **config)
    try:
        yield started
    finally:
        started.close()


def shards(array):
    """Equal parts, one a rank or rollout engine, in order."""
    return np.array_split(array, RANKS)


def advantages_of(rewards):
    """GRPO: how much better than its group, in the group's standard deviations; 0 where all are the same."""
    spread = rewards.std(axis=1, keepdims=True)
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)


def generate_all(rollouts, images):
    """The groups of all rollout engines, which answer at the same time, in the order of the questions."""
    parts = [None] * len(rollouts)

    def work(i, part):
        parts[i] = list(rollouts[i].generate(part, GROUP))

    threads = [threading.Thread(target=work, args=each) for each in enumerate(shards(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [group for part in parts for group in sorted(part, key=lambda group: group["question"])]


def learn(group_of_ranks, seed, shuffle_rewards=False, steps=STEPS):
    """Runs the whole loop on ranks that have a process group; yields what a step showed, beginning with step 0."""
    (train_images, train_labels), (eval_images, eval_labels) = read_data()
    rollouts = [RolloutEngine({"seed": 2 * seed + i}) for i in range(2)]
    evals = [EvalEngine() for _ in range(2)]
    shuffle = np.random.default_rng(seed)

    def publish():
        fresh = group_of_ranks.call("weights", [()])[0]
        for engine in rollouts + evals:
            engine.update_weights(fresh["version"], fresh["arrays"])
        return fresh

    def accuracy():
        parts = [e.accuracy(x, y) for e, x, y in zip(evals, shards(eval_images), shards(eval_labels))]
        return sum(part["accuracy"] * part["n"] for part in parts) / len(eval_labels)

    group_of_ranks.call("initialize", [(seed,)] * RANKS)
    first = publish()
    group_of_ranks.call("create", engine="ref")
    group_of_ranks.call("update_weights", [(0, first["arrays"])] * RANKS, engine="ref")
    yield {"version": 0, "accuracy": accuracy(), "checksums": set()}
    for step in range(steps):
        questions = (np.arange(QUESTIONS) + step * QUESTIONS) % len(train_labels)
        images = train_images[questions]
        groups = generate_all(rollouts, images)
        assert {group["version"] for group in groups} == {step}
        answers = np.stack([group["answers"] for group in groups])
        logprobs = np.stack([group["logprobs"] for group in groups])
        rewards = (answers == train_labels[questions][:, None]).astype(float)
        used = shuffle.permutation(rewards.ravel()).reshape(rewards.shape) if shuffle_rewards else rewards
        batch = list(zip(shards(images), shards(answers), shards(advantages_of(used)), shards(logprobs)))
        before = group_of_ranks.call("logprobs", [each[:2] for each in batch], engine="ref")
        trained = group_of_ranks.call("train_batch", batch)
        version = publish()["version"]
        yield {**trained[0], "version": version, "accuracy": accuracy(), "reward": rewards.mean(),
               "kl": (logprobs - np.concatenate(before)).mean(), "checksums": {t["weights_checksum"] for t in trained}}
