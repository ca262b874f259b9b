"""Records of runs that nobody trained."""

from typing import Any


def record(algorithm: str = "grpo", *, lr: float = 1e-4, seed: int = 0, sampled: list[float], **more: Any) -> Any:
    """What `train_and_score` returns, with these scores on the two levels."""
    return {
        "key": {"algorithm": algorithm, "lr": lr, "seed": seed},
        "settings": {"advantage": algorithm},
        "scores": {"sampled": sampled, "greedy": [score + 0.1 for score in sampled]},
        "tokens": 1000,
        "steps": 4,
        "train_s": 2.0,
        "diverged": None,
        "curve": {"tokens": [500, 1000], "sampled": [[0.3, 0.1], sampled]},
        "commit": "abc",
        **more,
    }
