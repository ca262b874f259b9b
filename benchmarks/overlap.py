"""Seconds a step where sampling and update overlap: a simulated engine and a simulated update of known seconds.

    python benchmarks/overlap.py

The groups are those of `runners.asynchrony` and its thread; the engine completes one sequence after another, so that a
step's take t_s seconds, and the update sleeps for t_u. Without overlap a step takes t_s + t_u; with it no less than the
larger of both.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from _results import write_results

from agents import Completion, SamplingParams
from agents.scripted_agent import ScriptedAgent
from runners.asynchrony.background import BackgroundSampler
from runners.asynchrony.source import AsynchronousGroups
from runners.sampling.environments import Environments
from runners.sampling.problems import ProblemSampler
from runners.sampling.rollout import GroupReset, SampleRequest
from runners.sampling.sampler import Sampler
from runners.sampling.synchronous import SynchronousGroups

NUM_PROMPTS, GROUP_SIZE = 8, 4


class SerialEngine(ScriptedAgent):
    """Completes one sequence after another, each in the same time.

    Args:
        seconds: Of a sequence.
    """

    in_process = False

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds, self._free_at = seconds, 0.0
        self._numbers = itertools.count()
        self._open: dict[int, tuple[float, Completion]] = {}

    def submit(self, prompt_token_ids: Sequence[Sequence[int]], params: SamplingParams) -> list[list[int]]:
        """Puts completions in the queue."""
        groups = []
        for completions in super().generate(prompt_token_ids, params):
            groups.append([next(self._numbers) for _ in completions])
            for number, completion in zip(groups[-1], completions, strict=True):
                self._free_at = max(self._free_at, time.monotonic()) + self._seconds
                self._open[number] = self._free_at, completion
        return groups

    def poll(self, timeout_s: float = 0.0) -> dict[int, Completion]:
        """Returns those that have ended."""
        until = time.monotonic() + timeout_s
        while self._open:
            now = time.monotonic()
            if ended := [number for number, (at, _) in self._open.items() if at <= now]:
                return {number: self._open.pop(number)[1] for number in ended}
            if now >= until:
                break
            time.sleep(max(0.0, min(until, min(at for at, _ in self._open.values())) - now))
        return {}


class OneSampler:
    """A `BackgroundSampler` of this process in an env runner's place."""

    def __init__(self, sampler: BackgroundSampler) -> None:
        self._sampler = sampler

    def ids(self) -> list[int]:
        """Returns its id."""
        return [1]

    def call(self, calls: Mapping[int, Callable[[Any], Any]]) -> dict[int, Any]:
        """Makes its call."""
        return {number: call(self._sampler) for number, call in calls.items()}


def seconds_a_step(sample_s: float, update_s: float, max_staleness: int, steps: int) -> float:
    """Returns the mean seconds of a step, the first ones left out, in which the pipeline fills."""
    agent = SerialEngine(sample_s / (NUM_PROMPTS * GROUP_SIZE))
    options = {"dataset": "builtin:1-2"}
    environments = Environments("gsm8k_env:GSM8K-v0", {"train": options, "eval": options})
    sampler, problems = Sampler(environments, agent), ProblemSampler(None, 0)

    def request(resets: list[GroupReset]) -> SampleRequest:
        return SampleRequest(resets=resets, sampling=SamplingParams(n=GROUP_SIZE, max_tokens=8), seed=0)

    def impossible(*_: Any) -> Exception:
        return AssertionError("nothing fails here")

    version, background = 0, None
    if max_staleness:
        background = BackgroundSampler(sampler, "finish", round_timeout_s=60.0)
        groups: Any = AsynchronousGroups(
            OneSampler(background),
            problems,
            request,
            num_prompts=NUM_PROMPTS,
            max_staleness=max_staleness,
            timeout_s=60.0,
            restore=lambda: None,
            policy_version=lambda: version,
            too_long=impossible,
            lost=impossible,
        )
    else:
        groups = SynchronousGroups(
            lambda resets: sampler.sample(request(resets)),
            problems,
            num_prompts=NUM_PROMPTS,
            max_refills=0,
            too_long=impossible,
        )
    ends = []
    for _ in range(steps + 2):
        groups.next()
        time.sleep(update_s)
        version += 1
        if background:
            with background.loading_weights():
                agent.policy_version = version
        ends.append(time.monotonic())
    if background:
        background.close()
    return (ends[-1] - ends[1]) / steps


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="of the longer part (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    rows = []
    print("| t_s : t_u | k = 0 | 1 | 2 | 4 |\n|---|---|---|---|---|")
    for sample, update in ((1, 4), (1, 2), (1, 1), (2, 1), (4, 1)):
        unit = args.seconds / max(sample, update)
        ratios = {k: seconds_a_step(sample * unit, update * unit, k, args.steps) / args.seconds for k in (0, 1, 2, 4)}
        rows.append({"sample": sample, "update": update, "seconds_over_longer_part": ratios})
        print(f"| {sample} : {update} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios.values()) + " |", flush=True)
    write_results("overlap", {"seconds_of_the_longer_part": args.seconds, "steps": args.steps, "rows": rows})


if __name__ == "__main__":
    main()
