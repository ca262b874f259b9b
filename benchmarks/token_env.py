"""Stock RLlib PPO on GSM8KTokens-v0: mean return over iterations on a few one-step problems, answered in digits.

    python benchmarks/token_env.py --seeds 0 1 2

No code of this project but the environment: PPOConfig, its default network and connectors. The setting is one where a
policy from scratch can get anywhere: 32 built-in problems of one step, whose answers all have one or two digits, an
alphabet of ten digits, at most two tokens. Greedy return is measured on each of these problems, and on problems it has
never seen; between the two lies what is memory and what is arithmetic.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib
import torch
from _results import write_results
from ray.rllib.algorithms.ppo import PPOConfig

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
ENV_ID = "gsm8k_env:GSM8KTokens-v0"
OPTIONS: dict[str, Any] = {"instruction": "none", "alphabet": "0123456789", "max_tokens": 2, "max_prompt_tokens": 160}
NUM_HELD_OUT = 512


def ppo_config(options: dict[str, Any], iterations: int, seed: int) -> PPOConfig:
    """Returns the configuration: 2,048 tokens an iteration, a learning rate that falls to zero."""
    batch = 2048
    return (
        PPOConfig()
        .environment(ENV_ID, env_config=options)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=32)
        .training(
            lr=[[0, 5e-4], [iterations * batch, 0.0]],
            gamma=1.0,
            train_batch_size_per_learner=batch,
            minibatch_size=512,
            num_epochs=6,
            entropy_coeff=0.01,
        )
        .debugging(seed=seed, log_level="ERROR")
    )


def greedy_return(module: Any, env: gym.Env, num_problems: int) -> float:
    """Returns the mean return of the likeliest tokens, over problems 0 to `num_problems` - 1."""
    total = 0.0
    for index in range(num_problems):
        observation, _ = env.reset(options={"index": index})
        terminated = False
        while not terminated:
            batch = {"obs": torch.from_numpy(observation)[None]}
            with torch.no_grad():
                logits = module.forward_inference(batch)["action_dist_inputs"]
            observation, reward, terminated, _, _ = env.step(int(logits.argmax()))
            total += float(reward)
    return total / num_problems


def run(seed: int, num_problems: int, iterations: int) -> tuple[dict[str, float], list[tuple[int, float]]]:
    """Trains a seed; returns its figures, and after each iteration (steps so far, mean of the last 100 returns)."""
    options = OPTIONS | {"dataset": f"builtin:1:{num_problems}"}
    train, held_out = (gym.make(ENV_ID, split=split, **options) for split in ("train", "test"))
    algo = ppo_config(options, iterations, seed).build_algo()

    def measure(when: str) -> dict[str, float]:
        return {
            f"train_greedy_{when}": greedy_return(algo.get_module(), train, num_problems),
            f"held_out_greedy_{when}": greedy_return(algo.get_module(), held_out, NUM_HELD_OUT),
        }

    figures = measure("before")
    curve = []
    started = time.perf_counter()
    for iteration in range(1, iterations + 1):
        result = algo.train()["env_runners"]
        curve.append((int(result["num_env_steps_sampled_lifetime"]), float(result["episode_return_mean"])))
        if iteration % 10 == 0:
            print(f"seed {seed}  iteration {iteration}/{iterations}  return {curve[-1][1]:.3f}", flush=True)
    figures["train_s"] = round(time.perf_counter() - started, 1)
    figures |= measure("after") | {"train_sampled_first": curve[0][1], "train_sampled_last": curve[-1][1]}
    algo.stop()
    return figures, curve


def best_constant(num_problems: int) -> float:
    """Returns what the answer that is right most often would earn on the training problems."""
    problems = gym.make(ENV_ID, **OPTIONS, dataset=f"builtin:1:{num_problems}").get_wrapper_attr("problems")
    return Counter(problems.ground_truths).most_common(1)[0][1] / len(problems)


def plot(
    curves: dict[int, list[tuple[int, float]]], figures: dict[str, dict[str, float]], constant: float, path: Path
) -> None:
    """Draws the curve of each seed, the greedy returns before and after, and the best constant answer."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for i, (seed, points) in enumerate(curves.items()):
        row = figures[f"seed {seed}"]
        ends = [points[0][0], points[-1][0]]
        axes.plot(*zip(*points, strict=True), color="C0", alpha=0.6, label=None if i else "training problems, sampled")
        for kind, color, label in (("train", "C1", "training problems, greedy"), ("held_out", "C3", "unseen problems")):
            values = [row[f"{kind}_greedy_before"], row[f"{kind}_greedy_after"]]
            axes.plot(ends, values, "o", color=color, markersize=5, label=None if i else label)
    axes.axhline(constant, color="0.5", linestyle="--", linewidth=1, label="best constant answer")
    axes.set(xlabel="tokens", ylabel="mean return", ylim=(0, 1), title="RLlib's PPO, from scratch, on GSM8KTokens-v0")
    axes.grid(alpha=0.3)
    axes.legend(loc="center right", frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Trains, prints the table, writes results/token_env.json and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--problems", type=int, default=32, help="training problems (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=80)
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "token_env.png")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures, curves = {}, {}
    for seed in args.seeds:
        figures[f"seed {seed}"], curves[seed] = run(seed, args.problems, args.iterations)
    constant = best_constant(args.problems)
    print("| seed | greedy before | after | unseen before | after | seconds |\n|---|---|---|---|---|---|")
    for seed, row in zip(args.seeds, figures.values(), strict=True):
        names = ("train_greedy_before", "train_greedy_after", "held_out_greedy_before", "held_out_greedy_after")
        print(f"| {seed} | {' | '.join(f'{row[name]:.3f}' for name in names)} | {row['train_s']:.0f} |")
    print(f"best constant answer: {constant:.3f}")
    plot(curves, figures, constant, args.picture)
    setting = {"num_problems": args.problems, "num_held_out": NUM_HELD_OUT, "best_constant": constant}
    write_results("token_env", figures | setting)


if __name__ == "__main__":
    main()
