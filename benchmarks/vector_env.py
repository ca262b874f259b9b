"""Completions graded per second: GSM8K's own vector form against Gymnasium's synchronous one.

``python benchmarks/vector_env.py`` makes both over the same environments and seeds them alike, so both pose the same
problems. Every second answer is the posed problem's worked solution, the others are that of another problem: half are
right, and every one has a marked answer that must be read. Both forms reset in the same step, so every step grades one
completion an environment. They take turns, and the fastest of several rounds counts: other work only ever slows.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import gymnasium as gym
from _results import write_results
from gymnasium.vector import AutoresetMode, VectorEnv

import gsm8k_env  # noqa: F401  (registers GSM8K-v0)
from gsm8k_env.problems import Problem, load_problems


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


def write_answers(envs: VectorEnv, problems: Sequence[Problem], steps: int) -> list[tuple[str, ...]]:
    """Returns the completions of one round: right in every second environment."""
    posed = envs.reset(seed=0)[1]["index"]
    answers = []
    for _ in range(steps):
        solved = [index + i % 2 for i, index in enumerate(posed.tolist())]
        answers.append(tuple(problems[index % len(problems)].solution for index in solved))
        posed = envs.step(answers[-1])[4]["index"]
    return answers


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

    both = make_both(options.num_envs, options.dataset)
    answers = write_answers(both["native"], load_problems("train", options.dataset), options.steps)
    count = options.num_envs * options.steps

    best: dict[str, float] = {}
    for _ in range(options.rounds):
        measured = {name: seconds_per_round(envs, answers) for name, envs in both.items()}
        rewards = {reward for _, reward in measured.values()}
        if len(rewards) != 1:
            raise SystemExit(f"the two forms disagree on the rewards: {measured}")
        best = {name: min(seconds, best.get(name, seconds)) for name, (seconds, _) in measured.items()}

    rates = {name: count / seconds for name, seconds in best.items()}
    ratio = rates["native"] / rates["stock_sync"]
    mean_length = sum(len(text) for actions in answers for text in actions) / count
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
