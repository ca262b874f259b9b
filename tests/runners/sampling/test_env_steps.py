"""Steps in threads, each test with a limit on every wait: what never ends fails and does not hang."""

import threading
import time

import pytest

from runners.sampling.env_steps import EnvSteps

LONG = 10.0


class Stepped:
    """An episode whose step waits for `go`."""

    def __init__(self, waits=False):
        self.go, self.begun, self.seen = threading.Event(), threading.Event(), None
        if not waits:
            self.go.set()

    def step(self):
        self.begun.set()
        assert self.go.wait(LONG)
        return "returned"

    def answer(self, returned):
        self.seen = returned

    def lose(self):
        self.seen = "lost"


def test_more_episodes_than_threads_all_end():
    steps, episodes = EnvSteps(threads=1), [Stepped() for _ in range(3)]
    for episode in episodes:
        steps.begin(episode)
    assert len(steps) == 3
    ended = []
    while len(ended) < 3:
        found = steps.ended(LONG)
        assert found, "a step that waits for a thread is begun when another ends"
        ended += found
    assert ended == episodes and len(steps) == 0
    assert [episode.seen for episode in episodes] == ["returned"] * 3


def test_the_first_to_end_waits_for_no_other():
    steps, slow, quick = EnvSteps(threads=2), Stepped(waits=True), Stepped()
    steps.begin(slow)
    steps.begin(quick)
    began = time.monotonic()
    assert steps.ended(LONG) == [quick] and time.monotonic() - began < LONG / 2
    assert len(steps) == 1
    assert steps.ended(0.0) == []
    threading.Timer(0.2, slow.go.set).start()
    assert steps.ended(LONG) == [slow], "without one that has ended it is waited for"


def test_a_step_that_takes_too_long_is_given_up_and_its_thread_is_free():
    steps, hung, next_one = EnvSteps(threads=1, timeout_s=0.2), Stepped(waits=True), Stepped()
    steps.begin(hung)
    steps.begin(next_one)
    assert steps.ended(LONG) == [hung] and hung.seen == "lost" and steps.pop_late() == [hung]
    assert next_one.begun.wait(LONG) and steps.ended(LONG) == [next_one]
    hung.go.set()
    assert steps.ended(0.2) == [] and hung.seen == "lost", "what comes later is nobody's"
    assert steps.pop_late() == [] and len(steps) == 0


@pytest.mark.parametrize("threads", [0, 1])
def test_nothing_is_waited_for_where_nothing_is_under_way(threads):
    began = time.monotonic()
    assert EnvSteps(threads).ended(LONG) == [] and time.monotonic() - began < LONG / 2
