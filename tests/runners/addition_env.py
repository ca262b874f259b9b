"""A second text environment, of another kind: endless, seeded, without indices, `correct` or `num_problems`."""

from typing import Any

import gymnasium as gym
from gymnasium.spaces import Text


class AdditionEnv(gym.Env[str, str]):
    """Asks for the sum of two numbers; the reward is 1 for the right digits anywhere in the answer's last word."""

    observation_space = Text(100, charset="".join(map(chr, range(32, 127))))
    action_space = Text(4096, min_length=0, charset="".join(map(chr, range(32, 127))))

    def __init__(self, digits: int = 2, group_faithful: bool = True, steps: int = 1, reward: str = "graded") -> None:
        self.digits, self.group_faithful, self.steps, self.reward = digits, group_faithful, steps, reward
        self.drawn = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        low, high = 10 ** (self.digits - 1), 10**self.digits
        a, b = (int(n) for n in self.np_random.integers(low, high, size=2))
        if not self.group_faithful:
            a += id(self) % 97
        self.answer, self.turn = str(a + b), 0
        self.drawn += 1
        return f"What is {a} + {b}?", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.turn += 1
        words = action.split()
        right = bool(words) and words[-1].strip(".") == self.answer
        reward = float("nan") if self.reward == "missing" else float(right)
        return "", reward, self.turn >= self.steps, False, {}


gym.register("Addition-v0", entry_point=AdditionEnv)
