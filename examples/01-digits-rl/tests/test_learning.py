"""The loop learns from its rewards, and only from them."""
import hashlib

import numpy as np
import pytest
from loop import DATA, GROUP, QUESTIONS, STEPS, advantages_of, learn, read_data

SEEDS = range(5)


def test_the_data_is_the_file_that_its_readme_describes():
    assert hashlib.sha256(DATA.read_bytes()).hexdigest() in (DATA.parent / "README.md").read_text()


def test_no_image_is_both_trained_on_and_held_out():
    (train_images, train_labels), (eval_images, eval_labels) = read_data()
    assert (len(train_images), len(eval_images)) == (1541, 256)
    assert set(train_labels) == set(eval_labels) == set(range(10))
    assert not {image.tobytes() for image in train_images} & {image.tobytes() for image in eval_images}


def test_advantages_are_relative_to_the_group_and_zero_where_all_answers_are_equally_good():
    found = advantages_of(np.array([[1.0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]))
    assert np.allclose(found[0], [3**0.5, *[-(3**-0.5)] * 3])
    assert not found[1:].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_held_out_accuracy_goes_from_about_10_percent_to_at_least_85(two_ranks, seed):
    steps = list(learn(two_ranks, seed))
    assert steps[0]["accuracy"] < 0.25
    assert steps[-1]["accuracy"] >= 0.85
    assert [step["version"] for step in steps] == list(range(STEPS + 1))
    for step in steps[1:]:
        assert len(step["checksums"]) == 1, "the ranks have different weights"
        assert step["samples"] == QUESTIONS * GROUP


@pytest.mark.parametrize("seed", SEEDS)
def test_with_shuffled_rewards_nothing_is_learned(two_ranks, seed):
    steps = list(learn(two_ranks, seed, shuffle_rewards=True))
    assert steps[-1]["accuracy"] < 0.30
    assert all(len(step["checksums"]) == 1 for step in steps[1:])


def test_the_same_seed_gives_the_same_weights_bit_for_bit(two_ranks):
    first, second = ([step["checksums"] for step in learn(two_ranks, 7, steps=3)] for _ in range(2))
    assert first == second
