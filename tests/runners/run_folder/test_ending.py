"""What ends a run before its last step, and which policy was the best."""

import os
import signal
import time

import pytest

from runners.run_folder.best import is_better
from runners.run_folder.conditions import parse_condition
from runners.run_folder.ending import Ending
from runners.run_folder.interrupts import Interrupts
from runners.run_settings import RunSettings


@pytest.mark.parametrize(
    ("text", "row", "holds"),
    [
        ("eval_accuracy>0.9", {"eval_accuracy": 0.95}, True),
        ("eval_accuracy>0.9", {"eval_accuracy": 0.9}, False),
        ("eval_accuracy >= 0.9", {"eval_accuracy": 0.9}, True),
        ("entropy<1e-2", {"entropy": 0.001}, True),
        ("entropy<=0", {"entropy": float("nan")}, False),
        ("eval_accuracy>0.9", {"reward_mean": 1.0}, False),
    ],
)
def test_a_condition(text, row, holds):
    assert parse_condition(text).holds(row) is holds


@pytest.mark.parametrize(
    "text", ["", "eval_accuracy", "eval_accuracy>", "eval_accuracy=1", "x>1", "loss>nan", "loss>y"]
)
def test_what_is_no_condition(text):
    assert parse_condition(text) is None


def test_the_best_evaluation():
    nan = float("nan")
    assert is_better({"eval_reward_mean": -3.0}, {}) and is_better({"eval_accuracy": 0.5}, {"eval_accuracy": 0.4})
    assert not is_better({"reward_mean": 1.0}, {}) and not is_better({"eval_accuracy": nan}, {})
    assert not is_better({"eval_accuracy": 0.5, "eval_reward_mean": 2.0}, {"eval_accuracy": 0.5})


@pytest.mark.parametrize(
    ("limits", "row", "last"),
    [
        ({"steps": 3}, {"step": 2}, False),
        ({"steps": 3}, {"step": 3}, True),
        ({"max_minutes": 1e-9}, {"step": 1}, True),
        ({"max_minutes": 1.0}, {"step": 1}, False),
        ({"stop": "loss<0"}, {"step": 1, "loss": -1.0}, True),
        ({"stop": "loss<0"}, {"step": 1}, False),
    ],
)
def test_the_last_step(limits, row, last):
    ending = Ending(RunSettings(**limits))
    assert ending.after(row) is last
    assert ending.reached(row) is (last and "max_minutes" not in limits)


def test_the_first_signal_is_noted_and_the_second_stops():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), Interrupts(60) as interrupted:
        assert not interrupted.seen
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted.seen
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_step_that_does_not_end_is_left_after_the_time_it_has(capsys):
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Interrupts(0.2):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
    assert time.monotonic() - started < 5
    assert "did not end within 0.2 s (interrupt_s)" in capsys.readouterr().err
