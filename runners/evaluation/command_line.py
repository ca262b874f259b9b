"""The command line of `python runners/evaluate.py`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import gymnasium as gym

import agents
from agents import Agent, SamplingParams
from gsm8k_env.problems import ProblemSet
from runners.evaluation.config import EvaluationConfig, model_fingerprint
from runners.evaluation.files import EvaluationFolder, read_samples
from runners.evaluation.generation import pose_problems
from runners.evaluation.prompts import Prompt, make_prompt, prompt_style, prompt_template
from runners.evaluation.run import generate_missing, score
from runners.evaluation.samples import Sample
from runners.evaluation.summary import summary_lines
from runners.support.assignments import assignments

DESCRIPTION = """Measures a model on GSM8K's problems.

Without options it evaluates the bundled model, greedily, on 200 built-in test problems. A run that was stopped goes on
when the same command is given again.
"""
ENVIRONMENT = "gsm8k_env:GSM8K-v0"
DEFAULT_PROMPT = "chat-hash"
DEFAULT_KS = (1, 4, 8)
BUILTIN_PROBLEMS = 200
GOES_ON = "The same command goes on after the last complete batch."


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="tiny, smollm2-135m, a folder, or a hub id (default: tiny)")
    parser.add_argument("--engine", default="transformers", help="transformers, or any agent registered under a name")
    parser.add_argument(
        "--engine-option", action="append", default=[], metavar="NAME=VALUE", help="passed to the engine; repeatable"
    )
    parser.add_argument("--dataset", default="builtin:1-2", help="auto, builtin:1-2, a path, a hub id")
    parser.add_argument("--split", default="test", help="train or test")
    parser.add_argument("--num-problems", type=int, help="default: 200; of any data set but the built-in, all")
    parser.add_argument(
        "--prompt",
        help="chat-hash, chat-boxed, chat-none, fewshot-5, fewshot-cot-8 (or another number), or an instruction of "
        "more than one word (default: chat-hash)",
    )
    parser.add_argument("--n", type=int, default=1, help="completions for each problem")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--top-k", type=int, default=0, help="0 is off")
    parser.add_argument("--max-tokens", type=int, default=512, help="most tokens of a completion")
    parser.add_argument("--k", type=int, nargs="+", help="for pass@k and maj@k; up to --n (default: 1 4 8)")
    parser.add_argument("--batch-size", type=int, default=16, help="problems in one call of the engine")
    parser.add_argument("--num-threads", type=int, help="torch threads (default: torch's own choice)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, help="default: runs/eval-MODEL-PROMPT-SPLIT-seedSEED")
    parser.add_argument("--generate-only", action="store_true", help="write the completions, do not score them")
    parser.add_argument("--score", type=Path, metavar="SAMPLES.JSONL", help="score these completions, without a model")
    args = parser.parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv
    return args


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    args = parse_args(argv)
    # Keeps the libraries' progress bars off the display, which has its own.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        _check(args)
        if args.score:
            return _score_file(args)
        return _evaluate(args)
    except KeyboardInterrupt:
        print(f"Interrupted. {GOES_ON}", file=sys.stderr)
        return 130
    except (ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (RuntimeError, OSError) as error:
        print(f"error: {error}\n{GOES_ON}", file=sys.stderr)
        return 1


def _check(args: argparse.Namespace) -> None:
    if args.k and min(args.k) < 1:
        raise ValueError(f"--k {min(args.k)}: every k must be at least 1.")
    if args.n > 1 and args.temperature == 0:
        raise ValueError(f"--n {args.n} with --temperature 0: greedy completions are all alike. Raise the temperature.")
    if args.batch_size < 1:
        raise ValueError(f"--batch-size {args.batch_size}: it must be at least 1.")
    if args.score and args.generate_only:
        raise ValueError("--score and --generate-only exclude each other.")


def _evaluate(args: argparse.Namespace) -> int:
    """Generates what is missing, then scores."""
    style = prompt_style(args.prompt or DEFAULT_PROMPT)
    env: gym.Env[str, str] = gym.make(
        ENVIRONMENT, disable_env_checker=True, split=args.split, dataset=args.dataset, instruction=style.instruction
    )
    problems = pose_problems(env, _num_problems(args))
    prompt = make_prompt(style, dataset=env.get_wrapper_attr("problems").dataset, seed=args.seed)
    folder = EvaluationFolder(args.output_dir or _default_folder(args))
    samples = generate_missing(
        folder,
        _config(args, env.get_wrapper_attr("problems"), prompt, len(problems)),
        env=env,
        prompt=prompt,
        problems=problems,
        make_agent=lambda: _make_agent(args),
        argv=args.argv,
    )
    if args.generate_only:
        print(f"{len(samples)} completions: {folder.samples_path}")
        print(f"Score them: python runners/evaluate.py --score {folder.samples_path}")
        return 0
    return _score(args, samples, style.stop, style.grading, source=folder, target=folder)


def _score_file(args: argparse.Namespace) -> int:
    """Scores a file of completions by what lies beside it, or by --prompt."""
    samples = read_samples(args.score)
    source = EvaluationFolder(args.score.parent)
    target = EvaluationFolder(args.output_dir or args.score.parent)
    saved = (source.read_config() or {}).get("evaluation")
    if args.prompt or saved is None:
        style = prompt_style(args.prompt or DEFAULT_PROMPT)
        return _score(args, samples, style.stop, style.grading, source=source, target=target)
    return _score(args, samples, tuple(saved["stop"]), tuple(saved["grading"]), source=source, target=target)


def _score(
    args: argparse.Namespace,
    samples: Sequence[Sample],
    stop: tuple[str, ...],
    grading: tuple[str, ...],
    *,
    source: EvaluationFolder,
    target: EvaluationFolder,
) -> int:
    """Grades the samples, writes the results and shows them."""
    ks = sorted(set(args.k or DEFAULT_KS))
    summary = score(samples, stop=stop, grading=grading, ks=ks, source=source, target=target, argv=args.argv)
    print("\n".join(summary_lines(summary)))
    too_large = [str(k) for k in args.k or () if k > summary.num_samples]
    if too_large:
        print(f"k = {', '.join(too_large)} left out: that takes as many completions of each problem (--n).")
    print(f"results: {target.results_path}; completions: {target.samples_path}")
    return 0


def _config(args: argparse.Namespace, problems: ProblemSet, prompt: Prompt, num_problems: int) -> EvaluationConfig:
    sampling = SamplingParams(
        n=args.n, temperature=args.temperature, top_p=args.top_p, top_k=args.top_k, max_tokens=args.max_tokens
    )
    return EvaluationConfig(
        model=args.model,
        model_fingerprint=model_fingerprint(args.model),
        engine=args.engine,
        engine_options=assignments(args.engine_option, "--engine-option"),
        dataset=problems.dataset,
        split=problems.split,
        data_fingerprint=problems.fingerprint,
        num_problems=num_problems,
        prompt=prompt.style.name,
        prompt_template=prompt_template(prompt),
        stop=prompt.style.stop,
        grading=prompt.style.grading,
        n=sampling.n,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=sampling.max_tokens,
        seed=args.seed,
        batch_size=args.batch_size,
    )


def _make_agent(args: argparse.Namespace) -> Agent:
    # Imported here: scoring needs neither.
    import transformers

    transformers.utils.logging.disable_progress_bar()
    if args.num_threads:
        import torch

        torch.set_num_threads(args.num_threads)
    return agents.make(args.engine, model=args.model, **assignments(args.engine_option, "--engine-option"))


def _num_problems(args: argparse.Namespace) -> int | None:
    if args.num_problems is None and args.dataset.startswith("builtin"):
        return BUILTIN_PROBLEMS
    return args.num_problems


def _default_folder(args: argparse.Namespace) -> Path:
    """Names the run by its options, so that the same command finds it again."""
    parts = [Path(args.model).name, args.prompt or DEFAULT_PROMPT, args.split, f"seed{args.seed}"]
    return Path("runs") / re.sub(r"[^\w.-]+", "_", "-".join(["eval", *parts]))[:120]
