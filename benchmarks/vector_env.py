"""Completions graded per second: GSM8K's own vector form against Gymnasium's synchronous one.

``python benchmarks/vector_env.py`` makes both over the same environments, seeds them alike, and answers each problem
with text of the length and kind that models write: the worked solution of some problem, so that most answers are
wrong and every one has an answer in it. Both forms reset in the same step, so every step grades one completion an
environment. They take turns, and the fastest of several rounds counts: other work on the machine only ever slows.
"""

import argparse
import sys
import time
from pathlib import Path

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv

import gsm8k_env  # noqa: F401  (registers GSM8K-v0)
from gsm8k_env.problems import load_problems

sys.path.insert(0, str(Path(__file__).parent))
from _results import write_results  # noqa: E402  (a script's folder is not a package)


def make_both(num_envs: int, dataset: str) -> dict[str, VectorEnv]:
    """Returns the native and the stock vector form, over equal environments."""
    native = gym.make_vec("GSM8K-v0", num_envs=num_envs, dataset=dataset)
    stock = gym.make_vec(
        "GSM8K-v0",
        num_envs=num_envs,
        dataset=dataset,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )
    return {"native": native, "stock_sync": stock}


def seconds_per_round(envs: VectorEnv, answers: list[tuple[str, ...]]) -> tuple[float, float]:
    """Returns the seconds that one round of steps takes, and the sum of its rewards."""
    envs.reset(seed=0)
    total = 0.0
    start = time.perf_counter()
    for actions in answers:
        total += float(envs.step(actions)[1].sum())
    return time.perf_counter() - start, total


def main() -> None:
    """Measures, prints the table and writes results/vector_env.json."""
    parser = argparse.ArgumentParser(description="Native against stock vector form, completions per second.")
    parser.add_argument("--num-envs", type=int, default=256)
    parser.add_argument("--steps", type=int, default=40, help="steps a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, of which the fastest counts")
    parser.add_argument("--dataset", default="builtin")
    options = parser.parse_args()

    solutions = [problem.solution for problem in load_problems("train", options.dataset)]
    count = options.num_envs * options.steps
    texts = [solutions[i % len(solutions)] for i in range(count)]
    answers = [tuple(texts[i : i + options.num_envs]) for i in range(0, count, options.num_envs)]

    best: dict[str, float] = {}
    both = make_both(options.num_envs, options.dataset)
    for _ in range(options.rounds):
        measured = {name: seconds_per_round(envs, answers) for name, envs in both.items()}
        rewards = {reward for _, reward in measured.values()}
        if len(rewards) != 1:
            raise SystemExit(f"the two forms disagree on the rewards: {measured}")
        best = {name: min(seconds, best.get(name, seconds)) for name, (seconds, _) in measured.items()}

    rates = {name: count / seconds for name, seconds in best.items()}
    ratio = rates["native"] / rates["stock_sync"]
    mean_length = sum(map(len, texts)) / count
    print(f"{options.num_envs} environments, {options.dataset}, completions of {mean_length:.0f} characters on average")
    print(f"{'vector form':<12} {'completions/s':>14} {'us/completion':>14}")
    for name, rate in rates.items():
        print(f"{name:<12} {rate:>14,.0f} {1e6 / rate:>14.1f}")
    print(f"native / stock_sync: {ratio:.2f}")
    figures = {
        "num_envs": options.num_envs,
        "mean_completion_characters": round(mean_length, 1),
        "completions_per_second": {name: round(rate) for name, rate in rates.items()},
        "ratio": round(ratio, 2),
    }
    print("written to", write_results("vector_env", figures).relative_to(Path(__file__).parent.parent))


if __name__ == "__main__":
    main()
