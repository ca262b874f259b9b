"""One engine behind our agent, compared with transformers and with itself used bare.

    python benchmarks/engines.py --engine vllm

Run it in the environment that has the engine. Without a GPU every side computes in float32. It prints, and writes to
`results/engines_NAME.json`:

- Greedy completions of built-in problems against transformers' (for the transformers agent: against the library's own
  `generate`), and log-probabilities at temperature 1 against a plain forward pass.
- Rollout tokens a second of the bare engine, of our agent, and of RLlib's env runner with its environments, in turns
  in one run, since the speed of a shared machine wanders. All three get the same prompts and sampling fields and start
  with empty caches; the env runner also seeds its requests, as training does.
- Seconds to hand new weights to the engine (checks and file included).

The bare engine is the engine's own API with our engine options: `vllm.LLM.generate` and `sglang.Engine.generate` in a
process of their own, timed there, and `transformers`' `model.generate`, which returns no log-probabilities here.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import takewhile
from typing import Any, Protocol

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from _results import write_results

import agents
from agents import Agent, Completion, SamplingParams
from agents.engine_process import EngineProcess
from agents.models import SMOLLM2, TINY, resolve_model
from agents.transformers_agent import TransformersAgent
from agents.transformers_agent.loading import load_model
from agents.transformers_agent.sampling import sampled_logprobs

GREEDY = SamplingParams(temperature=0.0, max_tokens=96)
SAMPLED = SamplingParams(temperature=1.0, max_tokens=96)
Prompts = Sequence[Sequence[int]]
Timed = tuple[float, int]  # seconds, tokens generated


class Bare(Protocol):
    """An engine through its own API."""

    def measure(self, prompts: Prompts, params: SamplingParams) -> Timed:
        """Generates once, with an empty cache before."""
        ...

    def close(self) -> None:
        """Frees the engine."""
        ...


class BareTransformers:
    """`model.generate` of the library, with the type, device and threads of the agent."""

    def __init__(self, agent: Agent) -> None:
        assert isinstance(agent, TransformersAgent)
        self._agent = agent
        self._ends = set(agent.end_token_ids)

    def completions(self, prompts: Prompts, params: SamplingParams) -> list[tuple[int, ...]]:
        """Returns the ids of n completions for each of N prompts, [N * n], each with its end token."""
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        greedy = params.temperature == 0
        sampling = {} if greedy else {"temperature": params.temperature, "top_k": 0, "top_p": 1.0}
        output = self._agent.model.generate(  # type: ignore[operator]
            input_ids=ids.to(self._agent.device),
            attention_mask=mask.to(self._agent.device),
            do_sample=not greedy,
            num_return_sequences=params.n,
            max_new_tokens=params.max_tokens,
            eos_token_id=sorted(self._ends),
            pad_token_id=0,
            **sampling,
        )
        return [self._until_end(row) for row in output[:, width:].tolist()]

    def measure(self, prompts: Prompts, params: SamplingParams) -> Timed:
        """Generates once; it keeps no cache between calls."""
        started = time.perf_counter()
        completions = self.completions(prompts, params)
        return time.perf_counter() - started, sum(map(len, completions))

    def close(self) -> None:
        """Does nothing: the model is the agent's."""

    def _until_end(self, row: list[int]) -> tuple[int, ...]:
        before = tuple(takewhile(lambda token: token not in self._ends, row))
        return tuple(row[: len(before) + 1])


class BareProcess:
    """vLLM's or SGLang's own API, in a process like the agent's: same options, same environment variables."""

    def __init__(self, agent: Any, target: str) -> None:
        backend = agent.backend
        options = {name: value for name, value in backend._options.items() if name != "worker_extension_cls"}
        self._agent = agent
        self._process = EngineProcess(
            f"engines:{target}",  # this file, which the child finds beside the script that was started
            {"options": options},
            environment=backend._environment,
            timeout_s=600.0,
            start_timeout_s=900.0,
        )

    def measure(self, prompts: Prompts, params: SamplingParams) -> Timed:
        """Generates once, with an empty cache before; timed over there, without the way between the processes."""
        return self._process.call("measure", prompts, self._agent.requests(prompts, params))

    def close(self) -> None:
        """Ends the process."""
        self._process.close()


class BareVLLM:
    """The child's side: `vllm.LLM`."""

    def __init__(self, options: dict[str, Any]) -> None:
        import vllm

        self._vllm, self._llm = vllm, vllm.LLM(**options)

    def measure(self, prompts: Prompts, requests: Sequence[dict[str, Any]], progress: Callable[[], None]) -> Timed:
        """Generates once, with an empty cache before."""
        self._llm.reset_prefix_cache()
        params = [self._vllm.SamplingParams(**request) for request in requests]
        started = time.perf_counter()
        results = self._llm.generate([{"prompt_token_ids": list(p)} for p in prompts], params, use_tqdm=False)
        seconds = time.perf_counter() - started
        return seconds, sum(len(output.token_ids) for result in results for output in result.outputs)


class BareSGLang:
    """The child's side: `sglang.Engine`."""

    def __init__(self, options: dict[str, Any]) -> None:
        import sglang

        self._engine = sglang.Engine(**options)

    def measure(self, prompts: Prompts, requests: Sequence[dict[str, Any]], progress: Callable[[], None]) -> Timed:
        """Generates once, with an empty cache before."""
        self._engine.flush_cache()
        started = time.perf_counter()
        results = self._engine.generate(
            input_ids=[list(prompt) for prompt in prompts],
            sampling_params=list(requests),
            return_logprob=True,
            logprob_start_len=-1,
        )
        seconds = time.perf_counter() - started
        return seconds, sum(len(result["output_ids"]) for result in results)


def bare_engine(engine: str, agent: Agent) -> Bare:
    """Returns the engine of `agent` through its own API."""
    if engine == "transformers":
        return BareTransformers(agent)
    return BareProcess(agent, {"vllm": "BareVLLM", "sglang": "BareSGLang"}[engine])


def count_equal(agent: Agent, reference: TransformersAgent, bare: Bare, prompts: Prompts) -> int:
    """Returns how many greedy completions are those of transformers, token for token."""
    ours = [group[0].token_ids for group in agent.generate(prompts, GREEDY)]
    if isinstance(bare, BareTransformers):
        expected = bare.completions(prompts, GREEDY)
    else:
        expected = [group[0].token_ids for group in reference.generate(prompts, GREEDY)]
    return sum(a == b for a, b in zip(ours, expected, strict=True))


def logprob_differences(agent: Agent, reference: TransformersAgent, prompts: Prompts) -> torch.Tensor:
    """Returns |engine - forward pass| of every sampled token, [tokens], at temperature 1."""
    groups = agent.generate(prompts, SAMPLED)
    return torch.cat([_difference(reference, p, group[0]) for p, group in zip(prompts, groups, strict=True)])


@torch.inference_mode()
def _difference(reference: TransformersAgent, prompt: Sequence[int], completion: Completion) -> torch.Tensor:
    ids = torch.tensor([[*prompt, *completion.token_ids]], device=reference.device)
    logits = reference.model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    drawn = ids[0, len(prompt) :, None]
    expected = sampled_logprobs(logits, SAMPLED).gather(1, drawn)[:, 0].cpu()
    return (torch.tensor(completion.logprobs) - expected).abs()


@contextmanager
def env_runner(args: argparse.Namespace) -> Iterator[Any]:
    """Makes the env runner that `python runners/grpo.py --engine NAME` has."""
    from runners.rllib.env_runner import TextEnvRunner
    from runners.run_options import build_config, parse_args, run_settings

    settings = ["--preset", "tiny", "--engine", args.engine, "--num-threads", str(args.threads)]
    runner = TextEnvRunner(config=build_config(run_settings(parse_args(settings))), worker_index=0, num_workers=0)
    try:
        yield runner
    finally:
        runner.stop()


def throughput(args: argparse.Namespace, runner: Any, bare: Bare, weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Returns tokens a second of each side, in turns: every round's, the medians, and the ratios of medians."""
    from runners.sampling.problems import ProblemSampler
    from runners.sampling.rollout import SampleRequest

    params = replace(SAMPLED, n=args.group_size)
    draws = ProblemSampler(runner.num_problems("train"), seed=0)
    rates: dict[str, list[float]] = {"bare": [], "agent": [], "env_runner": []}
    for number in range(args.rounds + 1):
        request = SampleRequest(resets=draws.draw(args.prompts), sampling=params, seed=0, max_prompt_tokens=512)
        runner.agent.update_weights(weights.items(), number)  # drops the caches
        through_runner, prompts = _timed_env_runner(runner, request)
        runner.agent.update_weights(weights.items(), number)
        timed = {"bare": bare.measure(prompts, params), "agent": _timed_agent(runner.agent, prompts, params)}
        for name, (seconds, tokens) in {**timed, "env_runner": through_runner}.items():
            if number:  # the first round warms up
                rates[name].append(tokens / seconds)
        print(f"round {number}/{args.rounds}", {k: round(v[-1]) for k, v in rates.items() if v}, flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {name: medians[name] / medians["bare"] for name in ("agent", "env_runner")}
    return {"tokens_per_s": rates, "median_tokens_per_s": medians, "ratio_to_bare": ratios}


def _timed_env_runner(runner: Any, request: Any) -> tuple[Timed, list[tuple[int, ...]]]:
    started = time.perf_counter()
    rollouts = runner.sample(request).rollouts
    seconds = time.perf_counter() - started
    prompts = [rollout.prompt_token_ids for rollout in rollouts[:: request.sampling.n]]
    return (seconds, sum(rollout.num_own_tokens for rollout in rollouts)), prompts


def _timed_agent(agent: Agent, prompts: Prompts, params: SamplingParams) -> Timed:
    started = time.perf_counter()
    groups = agent.generate(prompts, params)
    return time.perf_counter() - started, sum(len(c.token_ids) for group in groups for c in group)


def sync_seconds(agent: Agent, weights: dict[str, torch.Tensor]) -> dict[str, float]:
    """Returns the seconds of the first update of an agent's weights, and the median of three more."""
    seconds = []
    for version in range(1, 5):
        started = time.perf_counter()
        agent.update_weights(weights.items(), version)
        seconds.append(time.perf_counter() - started)
    return {"first_s": seconds[0], "median_s": statistics.median(seconds[1:])}


def weights_of(model: str) -> dict[str, torch.Tensor]:
    """Returns the weights of a model, float32 in this process's memory, as a learner hands them over."""
    loaded = load_model(resolve_model(model), dtype=torch.float32, device=torch.device("cpu"))
    return {name: parameter.detach() for name, parameter in loaded.named_parameters()}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Returns all figures of an engine."""
    from gsm8k_env.builtin import generate
    from gsm8k_env.prompts import render_prompt

    figures: dict[str, Any] = {"engine": args.engine, "work": {k: v for k, v in vars(args).items() if k != "engine"}}
    reference = TransformersAgent(TINY, dtype="float32")
    problems = generate("test", count=args.problems, seed=1)
    prompts = [reference.encode(render_prompt(problem.question)) for problem in problems]
    weights = weights_of(TINY)
    with env_runner(args) as runner:
        figures["sync"] = {TINY: sync_seconds(runner.agent, weights)}
        with closing(bare_engine(args.engine, runner.agent)) as bare:
            figures["greedy_identical"] = count_equal(runner.agent, reference, bare, prompts)
            differences = logprob_differences(runner.agent, reference, prompts)
            figures["logprob_difference"] = {
                "tokens": len(differences),
                "mean": float(differences.mean()),
                "max": float(differences.max()),
            }
            figures["rollout"] = throughput(args, runner, bare, weights)
    if SMOLLM2 in args.sync_models:
        with closing(agents.make(args.engine, model=SMOLLM2)) as agent:
            figures["sync"][SMOLLM2] = sync_seconds(agent, weights_of(SMOLLM2))
    return figures


def show(figures: dict[str, Any], problems: int) -> None:
    """Prints the table."""
    difference, rollout = figures["logprob_difference"], figures["rollout"]
    medians, ratios = rollout["median_tokens_per_s"], rollout["ratio_to_bare"]
    print(f"| {figures['engine']} | |\n|---|---|")
    print(f"| greedy completions identical to transformers' | {figures['greedy_identical']} of {problems} |")
    print(f"| logprob difference to a forward pass, mean | {difference['mean']:.2g} |")
    print(f"| the same, largest of {difference['tokens']} tokens | {difference['max']:.2g} |")
    print(f"| bare engine, tokens/s | {medians['bare']:.0f} |")
    for name, title in (("agent", "our agent"), ("env_runner", "RLlib env runner")):
        print(f"| {title}, tokens/s (of the bare engine's) | {medians[name]:.0f} ({ratios[name]:.2f}) |")
    for model, sync in figures["sync"].items():
        print(f"| weight sync of {model}, s: first, then | {sync['first_s']:.2f}, {sync['median_s']:.2f} |")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["transformers", "vllm", "sglang"], required=True)
    parser.add_argument("--problems", type=int, default=64, help="for greedy equality and log-probabilities")
    parser.add_argument("--prompts", type=int, default=32, help="of one rollout")
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sync-models", nargs="+", choices=[TINY, SMOLLM2], default=[TINY, SMOLLM2])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    figures = measure(args)
    show(figures, args.problems)
    write_results(f"engines_{args.engine}", figures)


if __name__ == "__main__":
    main()
