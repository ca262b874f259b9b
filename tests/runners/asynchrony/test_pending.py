"""Which groups may begin, and which an update takes."""

import random

from runners.asynchrony.background import SampledGroup
from runners.asynchrony.pending import PendingGroups
from runners.sampling.problems import ProblemSampler


def sampled(number):
    return SampledGroup(group_id=number, rollouts=[], begun_at=0.0, ended_at=0.0)


def ids(resets):
    return [reset.group_id for reset in resets]


def test_no_group_is_more_than_k_updates_old_whatever_ends_first():
    """Groups end in any order, are lost, or are too long: what an update takes began at most k updates before."""
    for seed in range(200):
        rng = random.Random(seed)
        n, k = rng.choice([1, 3, 4]), rng.choice([1, 2, 4])
        pending = PendingGroups(ProblemSampler(None, 0).draw, n, k)
        begun, taken, dropped = {}, [], set()
        version = 0
        while version < 12:
            for reset in pending.to_begin():
                begun[reset.group_id] = version
                pending.give(rng.choice([1, 2]), [reset])
            under_way = pending.of(1) + pending.of(2)
            for number in rng.sample(under_way, rng.randint(0, len(under_way))):
                chance = rng.random()
                if chance < 0.1:
                    pending.drop([number])
                    dropped.add(number)
                elif chance < 0.2:
                    pending.lose([number])
                else:
                    pending.end([sampled(number)])
            assert len(pending.get_state()) <= (k + 1) * n
            if pending.ready:
                groups = pending.take()
                assert all(version - begun[group.group_id] <= k for group in groups)
                taken += [group.group_id for group in groups]
                version += 1
        # In the order in which they were drawn, and none left out but for its length.
        assert taken == [number for number in range(taken[-1] + 1) if number not in dropped]


def test_the_bound_is_reached():
    pending = PendingGroups(ProblemSampler(None, 0).draw, 2, 1)
    first = pending.to_begin()
    assert ids(first) == [0, 1, 2, 3], "two steps' groups, and no more"
    pending.give(1, first)
    pending.end(map(sampled, (3, 1)))
    assert not pending.ready, "group 0 is older than 3"
    pending.end([sampled(0)])
    assert [group.group_id for group in pending.take()] == [0, 1]
    assert ids(pending.to_begin()) == [4, 5]


def test_what_is_lost_begins_again_before_what_is_new():
    pending = PendingGroups(ProblemSampler(None, 0).draw, 2, 1)
    pending.give(1, pending.to_begin())
    pending.end(map(sampled, (0, 1)))
    pending.take()
    pending.lose([2])
    assert ids(pending.to_begin()) == [2, 4, 5]


def test_a_checkpoint_holds_what_was_sampled_and_draws_the_rest_again():
    problems = ProblemSampler(None, 0)
    pending = PendingGroups(problems.draw, 2, 2)
    pending.give(1, pending.to_begin())
    pending.end(map(sampled, (4, 0)))
    again = PendingGroups(problems.draw, 2, 2)
    again.set_state(pending.get_state())
    assert ids(again.to_begin()) == [1, 2, 3, 5]
    again.end(map(sampled, (1, 2, 3)))
    assert [[group.group_id for group in again.take()] for _ in range(2)] == [[0, 1], [2, 3]]
