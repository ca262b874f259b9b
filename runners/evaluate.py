"""Measures a model on GSM8K's problems: `python runners/evaluate.py`.

Without options it evaluates the bundled model, greedily, on 200 built-in test problems. A run that was stopped goes on
when the same command is given again.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

# `python runners/evaluate.py` puts runners/ on the path, not the repository's root; an installed package needs neither.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runners.evaluation.options import assignments  # noqa: E402


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    parser.add_argument("--k", type=int, nargs="+", default=[1, 4, 8], help="for pass@k and maj@k; up to --n")
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
        print("Interrupted. The same command goes on after the last complete batch.", file=sys.stderr)
        return 130
    except (ValueError, ImportError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _check(args: argparse.Namespace) -> None:
    if min(args.k) < 1:
        raise ValueError(f"--k {min(args.k)}: every k must be at least 1.")
    if args.n > 1 and args.temperature == 0:
        raise ValueError(f"--n {args.n} with --temperature 0: greedy completions are all alike. Raise the temperature.")
    if args.batch_size < 1:
        raise ValueError(f"--batch-size {args.batch_size}: it must be at least 1.")
    if args.score and args.generate_only:
        raise ValueError("--score and --generate-only exclude each other.")


def _evaluate(args: argparse.Namespace) -> int:
    """Generates what is missing, then scores."""
    import gymnasium as gym

    from runners.evaluation.config import finished_samples
    from runners.evaluation.files import EvaluationFolder
    from runners.evaluation.generation import pose_problems
    from runners.evaluation.prompts import make_prompt, prompt_style

    style = prompt_style(args.prompt or "chat-hash")
    env: gym.Env[str, str] = gym.make(
        "gsm8k_env:GSM8K-v0",
        disable_env_checker=True,
        split=args.split,
        dataset=args.dataset,
        instruction=style.instruction,
    )
    problems = pose_problems(env, _num_problems(args))
    prompt = make_prompt(style, dataset=env.get_wrapper_attr("problems").dataset, seed=args.seed)
    config = _config(args, env, prompt, len(problems))
    folder = EvaluationFolder(args.output_dir or _default_folder(args))
    samples = finished_samples(folder, config)
    samples += _generate(args, folder, config, env, prompt, problems, samples)
    if args.generate_only:
        print(f"{len(samples)} completions: {folder.samples_path}. Score: {_score_command(folder.samples_path)}")
        return 0
    return _score(args, samples, folder, stop=style.stop, grading=style.grading)


def _generate(
    args: argparse.Namespace, folder: Any, config: Any, env: Any, prompt: Any, problems: Any, done: list[Any]
) -> list[Any]:
    """Generates the batches that `done` lacks; returns their samples."""
    from runners.evaluation.generation import encode_prompts, generate_batches
    from runners.evaluation.progress import EvaluationProgress
    from runners.evaluation.provenance import provenance

    num_done = len(done) // config.n
    if num_done == len(problems):
        return []
    agent = _make_agent(args, config)
    samples: list[Any] = []
    try:
        prompts = encode_prompts(agent, prompt, problems)
        sessions = (folder.read_config() or {}).get("sessions", [])
        folder.write_config({"evaluation": config.to_json(), "sessions": [*sessions, provenance(args.argv)]})
        with EvaluationProgress(len(problems), done, config.n) as progress:
            progress.say(_description(config) + (f"; {num_done} are done" if num_done else ""))
            first = -(-num_done // config.batch_size)
            for batch in generate_batches(agent, env, config, problems, prompts, first):
                folder.append_samples(batch)
                samples += batch
                progress.batch(batch)
    finally:
        agent.close()
    return samples


def _score_file(args: argparse.Namespace) -> int:
    """Scores a file of completions by what lies beside it, or by --prompt."""
    from runners.evaluation.files import EvaluationFolder, read_samples
    from runners.evaluation.prompts import prompt_style

    samples = read_samples(args.score)
    folder = EvaluationFolder(args.output_dir or args.score.parent)
    saved = (EvaluationFolder(args.score.parent).read_config() or {}).get("evaluation")
    if args.prompt or saved is None:
        style = prompt_style(args.prompt or "chat-hash")
        return _score(args, samples, folder, stop=style.stop, grading=style.grading)
    return _score(args, samples, folder, stop=tuple(saved["stop"]), grading=saved["grading"])


def _score(args: argparse.Namespace, samples: list[Any], folder: Any, *, stop: tuple[str, ...], grading: Any) -> int:
    """Grades the samples; writes samples.jsonl and results.json, and shows the summary."""
    from runners.evaluation.files import EvaluationFolder
    from runners.evaluation.provenance import provenance
    from runners.evaluation.summary import scored_row, summarize, summary_lines

    summary, scored = summarize(samples, stop=stop, grading=grading, ks=sorted(set(args.k)))
    source = EvaluationFolder(args.score.parent) if args.score else folder
    saved = source.read_config() or {"evaluation": None, "sessions": []}
    folder.write_samples(map(scored_row, scored))
    folder.write_results({**saved, "scoring": provenance(args.argv), "results": summary.to_json()})
    print("\n".join(summary_lines(summary)))
    left_out = [f"@{k}" for k in sorted(set(args.k)) if k > summary.num_samples]
    if left_out:
        print(f"{', '.join(left_out)} left out: {summary.num_samples} completions a problem; raise --n.")
    print(f"results: {folder.results_path}; completions: {folder.samples_path}")
    return 0


def _config(args: argparse.Namespace, env: Any, prompt: Any, num_problems: int) -> Any:
    from agents import SamplingParams
    from runners.evaluation.config import EvaluationConfig, model_fingerprint
    from runners.evaluation.prompts import prompt_template

    problems = env.get_wrapper_attr("problems")
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


def _make_agent(args: argparse.Namespace, config: Any) -> Any:
    import transformers

    import agents

    transformers.utils.logging.disable_progress_bar()
    if args.num_threads:
        import torch

        torch.set_num_threads(args.num_threads)
    return agents.make(config.engine, model=config.model, **config.engine_options)


def _num_problems(args: argparse.Namespace) -> int | None:
    if args.num_problems is None and args.dataset.startswith("builtin"):
        return 200
    return args.num_problems


def _default_folder(args: argparse.Namespace) -> Path:
    """Names the run by its options, so that the same command finds it again."""
    parts = [Path(args.model).name, args.prompt or "chat-hash", args.split, f"seed{args.seed}"]
    return Path("runs") / re.sub(r"[^\w.-]+", "_", "-".join(["eval", *parts]))[:120]


def _description(config: Any) -> str:
    sampling = "greedy" if config.temperature == 0 else f"temperature {config.temperature:g}"
    return (
        f"{config.model} on {config.num_problems} {config.split} problems of {config.dataset} x {config.n}, prompt "
        f"{config.prompt}, {sampling}, engine {config.engine}"
    )


def _score_command(path: Path) -> str:
    return f"python runners/evaluate.py --score {path}"


if __name__ == "__main__":
    sys.exit(main())
