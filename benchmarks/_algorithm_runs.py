"""One run of the comparison of algorithms: train until the tokens are spent, score on held-out problems, keep the file.

All that is to be the same for every algorithm stands in `Protocol`; what an algorithm is, in
`runners.objectives.algorithms`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from agents import Agent, SamplingParams
from runners.published import algorithm_settings
from runners.rllib.grpo import GRPO, GRPOConfig
from runners.sampling.environments import Environments
from runners.sampling.problems import evaluation_resets
from runners.sampling.rollout import SampleRequest
from runners.sampling.sampler import Sampler
from runners.support.atomic import replacing

MODEL = "tiny"
LEVELS = (1, 2)
"""The tasks: problems of one step and of two, as many of each in training and in evaluation."""

# One seed for every evaluation of every run, so that the noise of sampling is as alike as it can be.
_EVALUATION_SEED = 2**20
_STEP_COLUMNS = ("reward_mean", "completion_tokens_mean", "truncated_share", "zero_variance_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What is the same for every run.

    Attributes:
        token_budget: Training stops after the step in which this many tokens have been generated in all, completions
            that dynamic sampling throws away included.
        num_prompts, group_size: Problems a step, and completions a problem.
        minibatch_size: Sequences of one optimizer step; several a step, or ratio and clip would have nothing to do.
        max_prompt_tokens, max_tokens: Limits of prompt and completion.
        eval_problems: Held-out problems of each level.
        eval_samples: Completions of each at temperature 1 for the final score.
        curve_points: Evaluations over the budget, one completion a problem, the last one the final score.
        threads: Torch threads of a run.
    """

    token_budget: int = 80_000
    num_prompts: int = 16
    group_size: int = 8
    minibatch_size: int = 32
    max_prompt_tokens: int = 128
    max_tokens: int = 96
    eval_problems: int = 128
    eval_samples: int = 2
    curve_points: int = 5
    threads: int = 1

    def training(self) -> dict[str, Any]:
        """Returns the part of it that `GRPOConfig.training` takes."""
        names = ("num_prompts", "group_size", "minibatch_size", "max_prompt_tokens", "max_tokens")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """Which run. The seed decides the problems' order and the samples, alike for every algorithm."""

    algorithm: str
    lr: float
    seed: int

    @property
    def name(self) -> str:
        """The run's file name without its suffix."""
        return f"{self.algorithm}-lr{self.lr:g}-seed{self.seed}"


class HeldOutProblems:
    """The first problems of each level of the test split, and the share of them that an agent gets right."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._levels = [
            Environments("gsm8k_env:GSM8K-v0", {"eval": {"split": "test", "dataset": f"builtin:{level}"}})
            for level in LEVELS
        ]

    def accuracy(self, agent: Agent, *, n: int, temperature: float) -> list[float]:
        """Returns [T] the share of right completions on each level, of n for each problem."""
        shares = []
        for environments in self._levels:
            request = SampleRequest(
                resets=evaluation_resets(environments.num_problems("eval"), self._protocol.eval_problems),
                sampling=SamplingParams(n=n, temperature=temperature, max_tokens=self._protocol.max_tokens),
                seed=_EVALUATION_SEED,
                env="eval",
            )
            rollouts = Sampler(environments, agent).sample(request).rollouts
            shares.append(sum(rollout.reward for rollout in rollouts) / len(rollouts))
        return shares

    def final_scores(self, agent: Agent) -> dict[str, list[float]]:
        """Returns {"greedy": [T], "sampled": [T]}: the scores that algorithms are compared by."""
        return {
            "greedy": self.accuracy(agent, n=1, temperature=0.0),
            "sampled": self.accuracy(agent, n=self._protocol.eval_samples, temperature=1.0),
        }


def train_and_score(key: RunKey, protocol: Protocol) -> dict[str, Any]:
    """Trains until the budget is spent and returns the run's record, as JSON values.

    A run whose loss stops being finite is scored with the last weights that were: leaving it out would flatter the
    algorithm.

    Returns:
        {"key", "protocol", "settings", "scores": {"greedy": [T], "sampled": [T]}, "tokens", "steps", "train_s",
        "diverged": None or the reason, "curve": {"tokens": [K], "sampled": [K][T]} without the start, "log": {name:
        [steps]}}.
    """
    torch.manual_seed(key.seed)  # a process may have made another run before
    held_out = HeldOutProblems(protocol)
    curve: dict[str, list[Any]] = {"tokens": [], "sampled": []}
    log: dict[str, list[float]] = {name: [] for name in ("tokens", "seconds", *_STEP_COLUMNS)}
    tokens, diverged = 0, None
    algo = _config(key, protocol).build_algo()
    agent = _agent(algo)
    while tokens < protocol.token_budget:
        try:
            result = algo.train()
        except FloatingPointError as error:
            diverged = str(error)
            break
        points_before = _points_reached(tokens, protocol)
        # Those of completions that dynamic sampling threw away are among them.
        tokens += int(result["rollouts"]["num_sampled_completion_tokens"])
        _log_step(log, result, tokens)
        if points_before < _points_reached(tokens, protocol) < protocol.curve_points:
            curve["tokens"].append(tokens)
            curve["sampled"].append(held_out.accuracy(agent, n=1, temperature=1.0))
    scores = held_out.final_scores(agent)
    algo.stop()
    curve["tokens"].append(max(tokens, protocol.token_budget))
    curve["sampled"].append(scores["sampled"])
    return {
        "key": asdict(key),
        "protocol": asdict(protocol),
        "settings": algorithm_settings(key.algorithm),
        "scores": scores,
        "tokens": tokens,
        "steps": len(log["tokens"]),
        "train_s": round(sum(log["seconds"]), 3),
        "diverged": diverged,
        "curve": curve,
        "log": log,
    }


def _config(key: RunKey, protocol: Protocol) -> GRPOConfig:
    shared = {**protocol.training(), "lr": key.lr, "temperature": 1.0}
    if clash := sorted(algorithm_settings(key.algorithm).keys() & shared.keys()):
        raise ValueError(f"Algorithm {key.algorithm!r} sets {clash}, which the protocol holds equal for all of them.")
    return (
        GRPOConfig()
        .environment("gsm8k_env:GSM8K-v0", env_config={"dataset": f"builtin:{LEVELS[0]}-{LEVELS[-1]}"})
        .agents(policy_model=MODEL, engine="transformers", num_threads=protocol.threads)
        .training(algorithm=key.algorithm, **shared)
        .debugging(seed=key.seed, log_level="ERROR")
    )


def _agent(algo: GRPO) -> Agent:
    agent = algo.env_runner_group.local_env_runner.agent
    assert agent is not None
    return agent


def _points_reached(tokens: int, protocol: Protocol) -> int:
    return min(tokens * protocol.curve_points // protocol.token_budget, protocol.curve_points)


def _log_step(log: dict[str, list[float]], result: Mapping[str, Any], tokens: int) -> None:
    rollouts = result["rollouts"]
    log["tokens"].append(tokens)
    log["seconds"].append(round(float(sum(rollouts[part] for part in ("sample_s", "update_s", "sync_s"))), 4))
    for name in _STEP_COLUMNS:
        log[name].append(round(float(rollouts[name]), 4))


class RunFolder:
    """One JSON file a finished run; a file is there whole or not at all.

    Raises:
        ValueError: When a file of another protocol is read.
    """

    def __init__(self, path: Path, protocol: Protocol) -> None:
        self.path = path.resolve()
        self._protocol = protocol

    def read(self, name: str) -> dict[str, Any] | None:
        """Returns a finished record, or None."""
        path = self.path / f"{name}.json"
        if not path.exists():
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
        ours = asdict(self._protocol)
        different = {k: (v, record["protocol"].get(k)) for k, v in ours.items() if v != record["protocol"].get(k)}
        if different:
            shown = ", ".join(f"{name} is {there}, now {here}" for name, (here, there) in different.items())
            raise ValueError(
                f"{path.name} in {self.path.name}/ is of another protocol: {shown}. Runs of different protocols cannot "
                "be compared: give the options it was made with, or another --runs-dir."
            )
        return record

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Stores a finished record."""
        self.path.mkdir(parents=True, exist_ok=True)
        with replacing(self.path / f"{name}.json") as path:
            path.write_text(json.dumps(record) + "\n", encoding="utf-8")
