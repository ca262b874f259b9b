"""Environments that do not keep Gymnasium's contract, each in its own way."""

import time

import gymnasium as gym

from tests.runners.addition_env import AdditionEnv

RETURNS = {
    "inf": ("", float("inf"), True, False, {}),
    "text": ("", "1.0", True, False, {}),
    "four": ("", 1.0, True, {}),
    "none": None,
    "bytes": (b"", 1.0, True, False, {}),
}


class BrokenEnv(AdditionEnv):
    """Returns one of `RETURNS` from `step`."""

    def __init__(self, kind: str = "inf") -> None:
        super().__init__()
        self.kind = kind

    def step(self, action):
        return RETURNS[self.kind]


class NumbersEnv(AdditionEnv):
    """Observes a number."""

    def __init__(self, dataset: str = "") -> None:
        super().__init__()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 3, {}


class LateEnv(AdditionEnv):
    """Keeps the contract in the evaluations and for the training of the first step: 8 + 16 + 8 + 8 answers or so."""

    answered = 0

    def step(self, action):
        LateEnv.answered += 1
        if LateEnv.answered > 40:
            self.go_wrong()
        return super().step(action)


class FaultyEnv(LateEnv):
    """Then raises what its author did not expect."""

    def go_wrong(self):
        raise ValueError("a fault of its author")


class EndlessEnv(LateEnv):
    """Then does not return."""

    def go_wrong(self):
        while True:
            time.sleep(0.01)


gym.register("Broken-v0", entry_point=BrokenEnv)
gym.register("Numbers-v0", entry_point=NumbersEnv)
gym.register("Faulty-v0", entry_point=FaultyEnv)
gym.register("Endless-v0", entry_point=EndlessEnv)
