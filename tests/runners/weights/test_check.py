"""Whether an engine that is an update behind can be told from one that is not, however small the update."""

import numpy as np
import pytest

from runners.sampling.rollout import SampledTokens
from runners.weights.check import FirstTokens, share_of_change

IDS = (5, 6, 7, 8)
ENGINE = np.array([-1.0, -2.0, -0.5, -3.0], np.float32)


def sequence(logprobs, ids=IDS):
    return SampledTokens(
        prompt_token_ids=(1, 2),
        completion_token_ids=ids,
        completion_mask=np.ones(len(ids), np.bool_),
        rollout_logprobs=np.asarray(logprobs, np.float32),
        policy_version=0,
    )


def compared(*, change=1e-3, mismatch=0.0, engine=1.0, ids=IDS, sequences=2):
    """Two sequences alike: the learner's log-probs change, the engine's change by a part of it."""
    signs = np.array([1.0, -1.0, 1.0, 1.0])
    old, new = ENGINE + mismatch * signs[::-1], ENGINE + mismatch * signs[::-1] + change * signs
    before = FirstTokens(
        sequences=[sequence(ENGINE)] * sequences, seeds=(3,) * sequences, learner=[old.astype(np.float32)] * sequences
    )
    now = sequence((ENGINE + engine * change * signs)[: len(ids)], ids)
    return share_of_change(before, [now] * sequences, [new.astype(np.float32)[: len(ids)]] * sequences)


@pytest.mark.parametrize(("engine", "share"), [(1.0, 1.0), (0.0, 0.0), (0.25, 0.25), (-1.0, -1.0)])
def test_the_share_is_the_slope(engine, share):
    assert compared(engine=engine) == pytest.approx(share, abs=1e-3)


def test_what_differs_anyhow_falls_out():
    assert compared(mismatch=2e-4) == pytest.approx(1.0, abs=5e-3)
    assert compared(mismatch=2e-4, engine=0.0) == pytest.approx(0.0, abs=5e-3)


@pytest.mark.parametrize(
    "what",
    [
        {"mismatch": 3e-4},  # a change of less than four times what differs anyhow
        {"change": 3e-6, "engine": 0.0},  # of float32's rounding
        {"change": 0.0},  # no gradient
        {"sequences": 1},  # four tokens
        {"ids": (5, 6, 9, 8)},  # two sequences with two tokens alike each
        {"ids": (9, 6, 7, 8)},
    ],
)
def test_where_there_is_no_telling(what):
    assert compared(**what) is None


def test_only_tokens_that_are_the_same_count():
    assert compared(ids=(5, 6, 9, 8), sequences=4, engine=0.0) == pytest.approx(0.0, abs=1e-3)
