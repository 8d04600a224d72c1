"""What each engine promises, and what it refuses."""
import types

import numpy as np
import pytest
from engines import SHAPE, EvalEngine, PolicyEngine, ReferenceEngine, RolloutEngine, TrainEngine, clipped_loss, inputs
from loop import ranks, read_data

IMAGES = read_data()[0][0]


def policy(seed=0):
    return {"weights": np.random.default_rng(seed).normal(0, 1, SHAPE)}


def batch(n, group_size=8, seed=0):
    """A shard of random answers as (images, answers, advantages, old_logprobs)."""
    random = np.random.default_rng(seed)
    shape = (n, group_size)
    return IMAGES[:n], random.integers(0, 10, shape), random.normal(0, 1, shape), np.full(shape, np.log(0.1))


@pytest.mark.parametrize("version", [0, 3, 4, 6, -1])
def test_a_weight_version_that_goes_back_repeats_or_skips_is_refused_and_both_are_named(version):
    engine = RolloutEngine()
    for known in (3, 4):
        engine.update_weights(known, policy(known))
    with pytest.raises(ValueError, match=f"version {version} cannot follow version 4"):
        engine.update_weights(version, policy())
    assert engine.version == 4 and (engine.policy == policy(4)["weights"]).all()


@pytest.mark.parametrize("weights", [np.zeros(7), np.full(SHAPE, np.nan), "weights"])
def test_bad_weights_are_refused_and_the_old_ones_stay(weights):
    engine = PolicyEngine()
    engine.update_weights(0, policy())
    with pytest.raises(ValueError):
        engine.update_weights(1, {"weights": weights})
    assert engine.version == 0 and (engine.policy == policy()["weights"]).all()


def test_an_engine_that_was_sent_no_policy_says_so():
    with pytest.raises(RuntimeError, match="update_weights first"):
        EvalEngine().accuracy(IMAGES[:2], [1, 2])


def test_generate_yields_one_group_at_a_time_with_the_probabilities_of_its_version():
    engine, reference = RolloutEngine({"seed": 1}), ReferenceEngine()
    engine.update_weights(5, policy())
    reference.update_weights(0, policy())
    groups = engine.generate(IMAGES[:20], group_size=4)
    assert isinstance(groups, types.GeneratorType)
    first = next(groups)
    engine.update_weights(6, policy(1))
    found = [first, *groups]
    assert [group["question"] for group in found] == list(range(20))
    assert {group["version"] for group in found} == {5}
    assert {(group["answers"].dtype.str, group["answers"].shape) for group in found} == {("<i4", (4,))}
    expected = reference.logprobs(IMAGES[:20], np.stack([group["answers"] for group in found]))
    assert np.allclose(expected, [group["logprobs"] for group in found])


def test_answers_are_drawn_as_often_as_the_policy_says():
    engine = RolloutEngine({"seed": 1})
    engine.update_weights(0, policy())
    (group,) = engine.generate(IMAGES[:1], group_size=100_000)
    frequency = np.bincount(group["answers"], minlength=10) / 100_000
    assert np.abs(frequency - np.exp(engine.infer(IMAGES[:1])[0])).max() < 0.01


def test_rollout_engines_with_different_seeds_answer_differently_and_with_the_same_seed_alike():
    def answers(seed):
        engine = RolloutEngine({"seed": seed})
        engine.update_weights(0, {"weights": np.zeros(SHAPE)})
        return np.stack([group["answers"] for group in engine.generate(IMAGES[:16])])

    assert (answers(1) == answers(1)).all() and (answers(1) != answers(2)).any()


def test_images_may_be_a_tensor_a_flat_array_or_bytes():
    engine = EvalEngine()
    engine.update_weights(0, {"weights": policy()["weights"].ravel()})
    labels = list(range(10))
    forms = [IMAGES[:10], IMAGES[:10].astype(np.float32).ravel(), IMAGES[:10].tobytes(), IMAGES[:10].tolist()]
    assert len({engine.accuracy(form, labels)["accuracy"] for form in forms}) == 1


@pytest.mark.parametrize("images", [np.full(64, 17), np.zeros(63), np.full(64, 0.5), np.full(64, np.nan), [], "digits"])
def test_what_is_no_image_is_refused(images):
    with pytest.raises(ValueError):
        inputs(images)


def test_the_gradient_is_the_slope_of_the_loss():
    weights, (images, *shard) = policy()["weights"] * 0.1, batch(6)
    loss, gradient = clipped_loss(weights, 0.2, inputs(images), *shard)
    for place in [(0, 0), (20, 3), (43, 9), (64, 5)]:
        step = np.zeros(SHAPE)
        step[place] = 1e-6
        ahead, behind = (clipped_loss(weights + sign * step, 0.2, inputs(images), *shard)[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((ahead - behind) / 2e-6, rel=1e-4, abs=1e-7)


def test_an_answer_that_has_moved_beyond_the_clip_pulls_no_further():
    images, answers, old = inputs(IMAGES[:1]), np.array([[3]]), np.array([[np.log(0.05)]])  # now 0.1: ratio 2
    _, pushed_on = clipped_loss(np.zeros(SHAPE), 0.2, images, answers, np.array([[1.0]]), old)
    _, pulled_back = clipped_loss(np.zeros(SHAPE), 0.2, images, answers, np.array([[-1.0]]), old)
    assert not pushed_on.any() and pulled_back.any()


@pytest.mark.parametrize("bad", ["answers", "advantages", "old_logprobs", "sizes"])
def test_a_bad_shard_changes_no_rank_and_a_new_process_group_goes_on(two_ranks, bad):
    good = batch(4)
    images, answers, advantages, old = (np.array(each, float) for each in good)
    spoilt = {
        "answers": (images, answers + 10, advantages, old),
        "advantages": (images, answers, advantages * np.nan, old),
        "old_logprobs": (images, answers, advantages, old - np.inf),
        "sizes": (images[:3], answers, advantages, old),
    }[bad]
    two_ranks.call("initialize", [(0,), (0,)])
    before = two_ranks.call("weights")
    (_, mine), (_, other) = two_ranks.outcomes("train_batch", [good, spoilt])
    assert isinstance(other, ValueError)
    assert isinstance(mine, ConnectionError) and "rank 0 lost rank 1" in str(mine)
    for then, now in zip(before, two_ranks.call("weights")):
        assert now["version"] == 0 and (now["arrays"]["weights"] == then["arrays"]["weights"]).all()
    two_ranks.call("create_process_group")
    first, second = two_ranks.call("train_batch", [good, good])
    assert first == second and first["version"] == 1


def test_a_peer_that_dies_between_two_optimiser_steps_of_a_batch_leaves_no_half_of_it_behind():
    class DyingGroup:
        """Alone in the world, and gone after two all-reduces."""

        left = 2

        def all_reduce(self, values):
            self.left -= 1
            if self.left < 0:
                raise ConnectionError("rank 0 lost rank 1")
            return np.array(values)

        def close(self):
            self.closed = True

    engine = TrainEngine()
    engine.initialize(0)
    engine.group, before = DyingGroup(), engine.policy.copy()
    with pytest.raises(ConnectionError):
        engine.train_batch(*batch(4))
    assert engine.group.closed and engine.version == 0
    assert (engine.policy == before).all() and not np.any(engine.velocity)


def test_two_ranks_with_shards_of_different_size_do_what_one_rank_does_with_the_whole_batch(two_ranks):
    whole = batch(10)
    parts = [tuple(each[:3] for each in whole), tuple(each[3:] for each in whole)]
    found = []
    with ranks(1) as one_rank:
        one_rank.call("create_process_group")
        for some, shards in ((one_rank, [whole]), (two_ranks, parts)):
            some.call("initialize", [(0,)] * len(shards))
            (report, *_), (weights, *_) = some.call("train_batch", shards), some.call("weights")
            found.append((report["samples"], report["loss"], report["grad_norm"], weights["arrays"]["weights"]))
    assert found[0][0] == found[1][0] == 80
    assert all(np.allclose(*pair) for pair in zip(*found))
