"""The command line of `python runners/evaluate.py`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import agents
import gsm8k_env  # noqa: F401  (registers its environments)
from agents import Agent
from agents.values import fits
from runners.evaluation.config import EvaluationConfig, model_fingerprint
from runners.evaluation.files import EvaluationFolder, read_samples
from runners.evaluation.generation import DEFAULT_PROBLEMS, evaluation_problems
from runners.evaluation.prompts import ENVIRONMENT, Prompt, make_prompt, prompt_style, prompt_template
from runners.evaluation.run import generate_missing, score
from runners.evaluation.samples import Sample
from runners.evaluation.summary import summary_lines
from runners.reporting.evaluation_report import write_evaluation_report
from runners.reporting.last_line import report_line
from runners.sampling.environments import Environments, resolved_options
from runners.support.assignments import assignments, check_given_once
from runners.support.parser import OneLineParser, folder

DESCRIPTION = """Measures a model on GSM8K's problems, or on any environment that `runners/grpo.py` trains on.

Without options it evaluates the bundled model, greedily, on 200 built-in test problems. A run that was stopped goes on
when the same command is given again.
"""
GSM8K = "gsm8k_env:GSM8K-v0"
DEFAULT_PROMPT = "chat-hash"
DEFAULT_KS = (1, 4, 8)
# Each completion of a batch has an environment of its own.
_MOST = 2**20
GOES_ON = "The same command goes on after the last complete batch."


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = OneLineParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="tiny, smollm2-135m, a folder, or a hub id (default: tiny)")
    parser.add_argument("--engine", default="transformers", help="transformers, or any agent registered under a name")
    parser.add_argument(
        "--engine-option", action="append", default=[], metavar="NAME=VALUE", help="passed to the engine; repeatable"
    )
    parser.add_argument("--env", default=GSM8K, help="a Gymnasium id; its observations and actions are texts")
    parser.add_argument("--env-option", action="append", default=[], metavar="NAME=VALUE", help="passed to gym.make")
    parser.add_argument(
        "--dataset", help="auto, builtin:1-2, a path, a hub id; auto:2 has two steps (GSM8K-v0: builtin:1-2)"
    )
    parser.add_argument("--split", help="train or test (GSM8K-v0: test)")
    parser.add_argument(
        "--num-problems", type=int, help="default: 200 of the built-in data or an endless environment, else all"
    )
    parser.add_argument(
        "--prompt",
        help="chat-hash, chat-boxed, chat-none, fewshot-5, fewshot-cot-8 (or another number), or an instruction of "
        "more than one word (default: chat-hash; of another environment than GSM8K-v0, its own text)",
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
    parser.add_argument("--output-dir", type=folder, help="default: runs/eval-MODEL-PROMPT-SPLIT-seedSEED")
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
        print(f"error: {error} {GOES_ON}", file=sys.stderr)
        return 1


def _check(args: argparse.Namespace) -> None:
    if args.k and min(args.k) < 1:
        raise ValueError(f"--k {min(args.k)}: every k must be at least 1.")
    if args.n > 1 and args.temperature == 0:
        raise ValueError(f"--n {args.n} with --temperature 0: greedy completions are all alike. Raise the temperature.")
    for option, value, least, most in (
        ("--n", args.n, 1, _MOST),
        ("--batch-size", args.batch_size, 1, _MOST),
        ("--n times --batch-size", args.n * args.batch_size, 1, _MOST),
        ("--num-problems", args.num_problems, 1, _MOST),
        ("--num-threads", args.num_threads, 1, 1024),
        ("--seed", args.seed, 0, 2**32 - 1),
    ):
        if value is not None and not least <= value <= most:
            raise ValueError(f"{option} {value}: it must be at least {least}, and at most {most:,}.")
    check_given_once(
        assignments(args.env_option, "--env-option"),
        "--env-option",
        {"dataset": ("--dataset", args.dataset), "split": ("--split", args.split)},
    )
    if args.prompt == "":
        raise ValueError("--prompt '': leave it out, or give a prompt's name or an instruction.")
    if "model" in assignments(args.engine_option, "--engine-option"):
        raise ValueError("--engine-option model=...: give it by --model.")
    if args.prompt not in (None, ENVIRONMENT) and not _is_gsm8k(args):
        raise ValueError(
            f"--prompt {args.prompt} with --env {args.env}: prompts by name are for GSM8K-v0; another environment's "
            "text is put as it is. Say what it should ask by --env-option."
        )
    if args.score and args.generate_only:
        raise ValueError("--score and --generate-only exclude each other.")


def _evaluate(args: argparse.Namespace) -> int:
    """Generates what is missing, then scores."""
    style = prompt_style(args.prompt or (DEFAULT_PROMPT if _is_gsm8k(args) else ENVIRONMENT))
    env_options = resolved_options(args.env, _env_options(args, style.instruction))
    environments = Environments(args.env, {"eval": env_options})
    problems = evaluation_problems(environments, _num_problems(args, env_options))
    prompt = make_prompt(style, dataset=env_options.get("dataset", ""), seed=args.seed)
    folder = EvaluationFolder(args.output_dir or _default_folder(args))
    samples = generate_missing(
        folder,
        _config(args, environments, env_options, prompt, len(problems)),
        environments=environments,
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
    texts = [saved.get(name) for name in ("stop", "grading")]
    if not all(fits(found, list[str]) for found in texts):
        raise ValueError(f"{source.config_path} does not say how to grade (stop, grading): give --prompt.")
    stop, grading = map(tuple, texts)
    return _score(args, samples, stop, grading, source=source, target=target)


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
    print(report_line(write_evaluation_report, target.path))
    return 0


def _is_gsm8k(args: argparse.Namespace) -> bool:
    return args.env.rpartition(":")[2] == "GSM8K-v0"


def _env_options(args: argparse.Namespace, instruction: str | None) -> dict[str, Any]:
    """Returns what `gym.make` gets: GSM8K-v0's defaults here, over them the options with names, then --env-option."""
    defaults = {"split": "test", "dataset": "builtin:1-2"} if _is_gsm8k(args) else {}
    named = {"split": args.split, "dataset": args.dataset, "instruction": instruction}
    given = {name: value for name, value in named.items() if value is not None}
    return {**defaults, **given, **assignments(args.env_option, "--env-option")}


def _config(
    args: argparse.Namespace,
    environments: Environments,
    env_options: dict[str, Any],
    prompt: Prompt,
    num_problems: int,
) -> EvaluationConfig:
    return EvaluationConfig(
        model=args.model,
        model_fingerprint=model_fingerprint(args.model),
        engine=args.engine,
        engine_options=assignments(args.engine_option, "--engine-option"),
        environment=args.env,
        env_options=env_options,
        data_fingerprint=environments.data_fingerprint("eval"),
        num_problems=num_problems,
        prompt=prompt.style.name,
        prompt_template=prompt_template(prompt),
        stop=prompt.style.stop,
        grading=prompt.style.grading,
        n=args.n,
        temperature=args.temperature,
        top_p=args.top_p,
        top_k=args.top_k,
        max_tokens=args.max_tokens,
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


def _num_problems(args: argparse.Namespace, env_options: dict[str, Any]) -> int | None:
    if args.num_problems is None and str(env_options.get("dataset", "")).startswith("builtin"):
        return DEFAULT_PROBLEMS
    return args.num_problems


def _default_folder(args: argparse.Namespace) -> Path:
    """Names the run by its options, so that the same command finds it again."""
    task = args.prompt or DEFAULT_PROMPT if _is_gsm8k(args) else args.env
    parts = [Path(args.model).name, task, args.split or "test", f"seed{args.seed}"]
    return Path("runs") / re.sub(r"[^\w.-]+", "_", "-".join(["eval", *parts]))[:120]
