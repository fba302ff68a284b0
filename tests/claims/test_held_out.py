"""The evaluation batch is drawn from a seed that no training step uses."""

from latentkit.claims.depth_wall import HELD_OUT_SEED
from latentkit.training.fit import step_generator


def test_no_training_step_draws_the_evaluation_batch():
    # torch's CPU generator keeps the low 32 bits of a seed: the ones that must differ.
    low = 2**32
    used = {step_generator(seed, step).initial_seed() % low for seed in range(10) for step in range(3000)}
    assert HELD_OUT_SEED % low not in used
