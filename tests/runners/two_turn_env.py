"""An environment of two turns whose rewards a reader adds up in his head."""

from typing import Any

import gymnasium as gym

from gsm8k_env.spaces import UnicodeText


class TwoTurnEnv(gym.Env[str, str]):
    """Asks for a word. "skip" ends the episode with reward 0.125; anything else gets 0.25 and the request for another.

    The second word gets 1. With `endless`, it goes on asking, for 0.5 each time.
    """

    observation_space = UnicodeText(100)
    action_space = UnicodeText(4096)

    def __init__(self, endless: bool = False) -> None:
        self.endless = endless

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.turn = 0
        return f"Say {self.np_random.integers(10)}.", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.turn += 1
        if self.turn > 1:
            return ("", 1.0, True, False, {}) if not self.endless else ("More.", 0.5, False, False, {})
        return ("", 0.125, True, False, {}) if "skip" in action else ("Another.", 0.25, False, False, {})


gym.register("TwoTurn-v0", entry_point=TwoTurnEnv)
