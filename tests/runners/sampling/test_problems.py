import numpy as np
import pytest

from runners.sampling.problems import ProblemSampler, evaluation_resets, sequence_seed

ENVS = {"train": 1, "eval": 2}  # what stands for them in a seed


def indices(resets):
    return [reset.options["index"] for reset in resets]


def test_every_problem_once_an_epoch_in_another_order_each():
    sampler = ProblemSampler(10, seed=3)
    first, second = indices(sampler.draw(10)), indices(sampler.draw(10))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert sampler.epoch == 2.0


def test_a_draw_may_cross_the_epochs_end():
    sampler = ProblemSampler(3, seed=0)
    drawn = indices(sampler.draw(7))
    assert sorted(drawn[:3]) == sorted(drawn[3:6]) == [0, 1, 2]


def test_the_state_goes_on_where_it_was_taken():
    straight, first = ProblemSampler(7, seed=1), ProblemSampler(7, seed=1)
    expected = straight.draw(20)
    assert first.draw(9) == expected[:9]
    second = ProblemSampler(7, seed=99)
    second.set_state(first.get_state())
    assert second.draw(11) == expected[9:]


def test_a_state_of_other_data_is_refused():
    with pytest.raises(ValueError, match="made with 7 problems, the environment has 8"):
        ProblemSampler(8, seed=1).set_state(ProblemSampler(7, seed=1).get_state())


def test_an_endless_environment_gets_fresh_seeds():
    sampler = ProblemSampler(None, seed=0)
    resets = sampler.draw(1000)
    assert len({reset.seed for reset in resets}) == 1000
    assert all(reset.options is None for reset in resets)
    assert sampler.epoch == 0.0


def test_c11_group_ids_never_repeat():
    sampler = ProblemSampler(3, seed=0)
    assert [reset.group_id for reset in sampler.draw(8)] == list(range(8))


def test_evaluation_is_on_the_same_problems_each_time():
    assert evaluation_resets(1319, 100) == evaluation_resets(1319, 100)
    assert len(set(indices(evaluation_resets(1319, 100)))) == 100
    assert indices(evaluation_resets(5, 100)) == [0, 1, 2, 3, 4]
    assert len({reset.seed for reset in evaluation_resets(None, 50)}) == 50


def test_evaluation_seeds_are_not_training_seeds():
    training = {reset.seed for reset in ProblemSampler(None, seed=0).draw(2000)}
    evaluation = [reset.seed for resets in (evaluation_resets(None, 2000), evaluation_resets(9, 9)) for reset in resets]
    assert not training & set(evaluation)
    assert all(2**30 <= seed < 2**31 for seed in evaluation)  # of 31 bits, as `reset` takes


def test_c24_every_group_and_turn_has_a_sampling_seed_of_its_own():
    seeds = {
        sequence_seed(run, env, group, turn)
        for run in (0, 1)
        for group in range(50)
        for env in ("train", "eval")
        for turn in range(4)
    }
    assert len(seeds) == 800
    assert all(0 <= seed < 2**30 for seed in seeds)
    environments = {reset.seed for reset in ProblemSampler(None, seed=0).draw(50)}
    assert not {seed >> 1 for seed in environments} & seeds


def test_random_numbers_stay_those_of_a_checkpoint():
    mixed = {env: np.random.SeedSequence((5, 7, 1, place)).generate_state(1)[0] for env, place in ENVS.items()}
    assert {env: sequence_seed(5, env, 7, 1) for env in ENVS} == {env: state >> 2 for env, state in mixed.items()}
    [reset] = ProblemSampler(None, seed=5).draw(1)
    assert reset.seed == np.random.SeedSequence((5, 0)).generate_state(1)[0] >> 1
