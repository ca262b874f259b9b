"""How good a policy's folder is: `python _scores.py SCORING.json` scores those it names, for `_algorithm_runs`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _protocol import TASKS, Protocol

import agents
from agents import Agent, SamplingParams
from runners.sampling.environments import Environments
from runners.sampling.problems import evaluation_resets
from runners.sampling.rollout import Rollout, SampleRequest
from runners.sampling.sampler import Sampler

# One seed for every evaluation of every run, so that the noise of sampling is as alike as it can be.
_EVALUATION_SEED = 2**20


class HeldOutProblems:
    """The first problems of each level of the test split, and how an agent does on them."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        task = TASKS[protocol.task]
        self._levels = [
            Environments(task.env, {"eval": {"split": "test", "dataset": f"builtin:{level}"}}) for level in task.levels
        ]

    def accuracy(self, agent: Agent, *, n: int, temperature: float) -> list[float]:
        """Returns [T] the share of right completions on each level, of n for each problem."""
        return [
            float(np.mean([rollout.reward for rollout in level]))
            for level in self._rollouts(agent, n=n, temperature=temperature)
        ]

    def final_scores(self, agent: Agent) -> dict[str, Any]:
        """Returns {"greedy": [T], "sampled": [T], "entropy": nats a token}.

        The first two are the scores that algorithms are compared by. The entropy is minus the mean log-probability of
        the sampled tokens.
        """
        sampled = self._rollouts(agent, n=self._protocol.eval_samples, temperature=1.0)
        logprobs = np.concatenate(
            [rollout.rollout_logprobs[rollout.completion_mask] for level in sampled for rollout in level]
        )
        return {
            "greedy": self.accuracy(agent, n=1, temperature=0.0),
            "sampled": [float(np.mean([rollout.reward for rollout in level])) for level in sampled],
            "entropy": round(float(-logprobs.mean()), 4),
        }

    def _rollouts(self, agent: Agent, *, n: int, temperature: float) -> list[list[Rollout]]:
        found = []
        for environments in self._levels:
            request = SampleRequest(
                resets=evaluation_resets(environments.num_problems("eval"), self._protocol.eval_problems),
                sampling=SamplingParams(n=n, temperature=temperature, max_tokens=self._protocol.max_tokens),
                seed=_EVALUATION_SEED,
                env="eval",
            )
            found.append(Sampler(environments, agent).sample(request).rollouts)
        return found


def scores(protocol: Protocol, policy: str, points: list[str]) -> dict[str, Any]:
    """Returns {"scores": of the policy, "points": [K][T] sampled accuracy of those on the way}."""
    held_out = HeldOutProblems(protocol)
    on_the_way = []
    for point in points:
        agent = agents.make("transformers", model=point, dtype="float32")
        on_the_way.append(held_out.accuracy(agent, n=1, temperature=1.0))
        agent.close()
    agent = agents.make("transformers", model=policy, dtype="float32")
    return {"scores": held_out.final_scores(agent), "points": on_the_way}


def main() -> None:
    """Writes the scores beside the file."""
    import torch

    path = Path(sys.argv[1])
    asked = json.loads(path.read_text(encoding="utf-8"))
    protocol = Protocol(**asked.pop("protocol"))
    torch.set_num_threads(protocol.threads)
    path.with_name("scores.json").write_text(json.dumps(scores(protocol, **asked)), encoding="utf-8")


if __name__ == "__main__":
    main()
