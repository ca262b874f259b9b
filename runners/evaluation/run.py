"""The two halves of an evaluation: generating what a folder lacks, and scoring what it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agents import Agent
from runners.evaluation.config import EvaluationConfig, finished_samples
from runners.evaluation.files import EvaluationFolder
from runners.evaluation.generation import encoder, generate_batches, prompt_lengths
from runners.evaluation.progress import EvaluationProgress
from runners.evaluation.prompts import Prompt
from runners.evaluation.samples import Sample
from runners.evaluation.summary import Summary, scored_row, summarize
from runners.sampling.environments import Environments
from runners.sampling.rollout import GroupReset
from runners.sampling.sampler import Sampler
from runners.support.provenance import provenance


def generate_missing(
    folder: EvaluationFolder,
    config: EvaluationConfig,
    *,
    environments: Environments,
    prompt: Prompt,
    problems: Sequence[GroupReset],
    make_agent: Callable[[], Agent],
    argv: Sequence[str],
) -> list[Sample]:
    """Generates the batches that the folder lacks, and returns all samples.

    Args:
        folder: Where they go, a batch at a time.
        config: What to generate.
        environments: Where the problems are.
        prompt: How to put them.
        problems: [config.num_problems] the problems.
        make_agent: Called once, and only if something is missing.
        argv: The command line's arguments, for config.json.

    Raises:
        ValueError: If the folder holds another evaluation, or a prompt does not fit into the model's context.
        EngineError: If the engine dies; complete batches stay.
    """
    samples = finished_samples(folder, config)
    num_done = len(samples) // config.n
    if num_done == len(problems):
        return samples
    agent = make_agent()
    try:
        encode = encoder(agent, prompt)
        lengths = prompt_lengths(environments, problems, encode, agent.max_model_len)
        sessions = (folder.read_config() or {}).get("sessions", [])
        folder.write_config(
            {"evaluation": config.to_json(), "sessions": [*sessions, provenance("runners/evaluate.py", argv)]}
        )
        with EvaluationProgress(len(problems), samples, config.n) as progress:
            progress.say(_description(config) + (f"; {num_done} are done" if num_done else ""))
            tight = sum(length + config.max_tokens > agent.max_model_len for length in lengths)
            if tight:
                progress.say(f"{tight} prompts leave room for fewer than {config.max_tokens} tokens in the context.")
            first_batch = -(-num_done // config.batch_size)
            for batch in generate_batches(Sampler(environments, agent, encode), config, problems, first_batch):
                folder.append_samples(batch)
                samples += batch
                progress.batch(batch)
    finally:
        agent.close()
    return samples


def score(
    samples: Sequence[Sample],
    *,
    stop: tuple[str, ...],
    grading: Sequence[str],
    ks: Sequence[int],
    source: EvaluationFolder,
    target: EvaluationFolder,
    argv: Sequence[str],
) -> Summary:
    """Grades samples and writes samples.jsonl with the grades, and results.json.

    Args:
        samples: The completions.
        stop: Texts that end a completion.
        grading: Grading modes.
        ks: For pass@k and maj@k.
        source: The folder they are from; its config.json, where there is one, becomes part of the results.
        target: The folder to write to; may be the same.
        argv: The command line's arguments, for results.json.

    Raises:
        ValueError: If there is no sample, or two runs are in one file.
    """
    summary, scored = summarize(samples, stop=stop, grading=grading, ks=ks)
    saved = source.read_config() or {"evaluation": None, "sessions": []}
    target.write_samples(map(scored_row, scored))
    target.write_results({**saved, "scoring": provenance("runners/evaluate.py", argv), "results": summary.to_json()})
    return summary


def _description(config: EvaluationConfig) -> str:
    sampling = "greedy" if config.temperature == 0 else f"temperature {config.temperature:g}"
    return (
        f"{config.model} on {config.num_problems} problems of {config.environment} {dict(config.env_options)} "
        f"x {config.n}, prompt {config.prompt}, {sampling}, engine {config.engine}"
    )
