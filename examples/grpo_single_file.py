"""GRPO in one file, to be read from top to bottom: plain torch, a Gymnasium environment, a transformers model.

    python examples/grpo_single_file.py --plot curve.png

Group Relative Policy Optimization (Shao et al., DeepSeekMath, https://arxiv.org/abs/2402.03300) in a sentence: let the
model answer each problem G times, reward each answer, and make those answers likelier that beat their group's mean. PPO
trains a second network to know what reward was to be expected; here the rest of the group tells.

The defaults are those of runners/presets/tiny.yaml, and so is the curve. runners/ has what this file leaves out:
engines, several processes, micro-batches, checkpoints, other losses, the KL to a reference model (0 in that preset).

Shapes: N problems a step, G completions of each, B = N * G rows, P prompt tokens (padded on the left), C completion
tokens (padded on the right).
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import gsm8k_env  # noqa: F401  (registers GSM8K-v0)
from agents.models import resolve_model

# ---- 1. The policy: a causal language model ----


def load_policy(name: str) -> tuple[Any, Any]:
    """Returns model and tokenizer of "tiny", a folder or a hub id."""
    folder = resolve_model(name)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = model.to(device).eval()  # eval: no dropout
    # Checkpoints bring sampling habits (top_p, a repetition penalty) the loss knows nothing of; only the end stays.
    ends = model.generation_config.eos_token_id or tokenizer.eos_token_id
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    return model, tokenizer


# ---- 2. Sampling: o_1, ..., o_G ~ pi_old( . | q) ----


class Samples(NamedTuple):
    """What the policy wrote for B prompts, as tokens."""

    token_ids: torch.Tensor  # [B, P + C] prompt, then completion
    attention_mask: torch.Tensor  # [B, P + C] 0 on padding, else 1
    loss_mask: torch.Tensor  # [B, C] bool, the policy's own tokens; the end token is one: to stop is an action too


@torch.no_grad()
def sample(
    model: Any, tokenizer: Any, observations: Sequence[str], temperature: float, max_tokens: int
) -> tuple[Samples, list[str]]:
    """Completes each of B user messages once; temperature 0 is greedy. Returns tokens and texts."""
    chats = [[{"role": "user", "content": observation}] for observation in observations]
    prompts = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    ).to(model.device)
    # Top-k and top-p off: the distribution that is sampled must be the one that `logprobs` scores.
    how = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    token_ids = model.generate(**prompts, max_new_tokens=max_tokens, **how)
    completions = token_ids[:, prompts["input_ids"].shape[1] :]
    ends = torch.isin(completions, torch.tensor(model.generation_config.eos_token_id, device=model.device))
    loss_mask = ends.cumsum(dim=1) - ends.long() == 0  # no end token comes before
    attention_mask = torch.cat([prompts["attention_mask"], loss_mask.long()], dim=1)
    own_tokens = [row[own] for row, own in zip(completions, loss_mask, strict=True)]
    texts = tokenizer.batch_decode(own_tokens, skip_special_tokens=True)
    return Samples(token_ids=token_ids, attention_mask=attention_mask, loss_mask=loss_mask), texts


def logprobs(model: Any, samples: Samples, temperature: float) -> torch.Tensor:
    """Returns log pi(o_t | q, o_<t), [B, C] nats; the logits at each position predict the token at the next."""
    length = samples.loss_mask.shape[1]
    logits = model(
        input_ids=samples.token_ids,
        attention_mask=samples.attention_mask,
        position_ids=(samples.attention_mask.cumsum(dim=1) - 1).clamp_min(0),
        logits_to_keep=length + 1,
        use_cache=False,
    ).logits[:, :-1]
    chosen = samples.token_ids[:, -length:, None]
    return torch.log_softmax(logits.float() / temperature, dim=-1).gather(dim=2, index=chosen).squeeze(2)


# ---- 3. Advantages: how much better than the group ----


def group_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """A_i = (r_i - mean(r)) / std(r) over the group's G rewards, [N, G] -> [N, G].

    Outcome supervision, section 4.1.2 of https://arxiv.org/abs/2402.03300; every token of a completion gets its A_i.
    A group that is all right or all wrong gets 0, for which the denominator needs a little more than std(r).
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return centred / (rewards.std(dim=1, keepdim=True) + 1e-4)


# ---- 4. The loss: raise what was good, but not far at once ----


def clipped_loss(
    logprobs: torch.Tensor, old_logprobs: torch.Tensor, advantages: torch.Tensor, loss_mask: torch.Tensor
) -> torch.Tensor:
    """-mean over tokens of min(r A, clip(r, 1 - 0.2, 1 + 0.2) A), with r = pi(o_t | q, o_<t) / pi_old(o_t | q, o_<t).

    The minimum is PPO's (equation 7 of https://arxiv.org/abs/1707.06347): once r has left the clip range on the side
    that A asks for, its gradient is 0. GRPO takes it for each token (equation 3 of https://arxiv.org/abs/2402.03300).
    The mean is over all tokens of the minibatch, as in DAPO (section 3.3 of https://arxiv.org/abs/2503.14476); GRPO's
    own is over each completion first, which makes a long answer's tokens count less.

    Args:
        logprobs: [B, C] of the policy that learns.
        old_logprobs: [B, C] of the policy that sampled.
        advantages: [B].
        loss_mask: [B, C] bool.
    """
    ratio = (logprobs - old_logprobs).exp()
    gain = torch.minimum(ratio * advantages[:, None], ratio.clamp(0.8, 1.2) * advantages[:, None])
    return -(gain * loss_mask).sum() / loss_mask.sum()


# ---- 5. Evaluation: mean reward on held-out problems ----


def accuracy(model: Any, tokenizer: Any, envs: Any, temperature: float, max_tokens: int) -> float:
    """Returns the share of solved problems, on as many as there are `envs` and the same at every call."""
    shuffled = np.random.default_rng(0).permutation(envs.num_problems)
    observations, _ = envs.reset(options={"index": sorted(shuffled[: envs.num_envs])})
    _, texts = sample(model, tokenizer, observations, temperature, max_tokens)
    return float(envs.step(texts)[1].mean())


# ---- 6. The algorithm (algorithm 1 of https://arxiv.org/abs/2402.03300) ----


def train(args: argparse.Namespace, model: Any, tokenizer: Any, envs: Any) -> Iterator[dict[str, float]]:
    """Trains for `args.steps` steps on problems of `envs`, N * G copies; yields the metrics of each."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=0.0)
    rows = args.num_prompts * args.group_size
    # Every problem once an epoch, in an order drawn anew for each.
    epochs = (np.random.default_rng([args.seed, epoch]).permutation(envs.num_problems) for epoch in itertools.count())
    problems = itertools.chain.from_iterable(epochs)

    for step in range(1, args.steps + 1):
        started = time.perf_counter()
        # G completions of each of N problems, from the policy as it stands: it is pi_old now.
        index = np.repeat(list(itertools.islice(problems, args.num_prompts)), args.group_size)
        observations, _ = envs.reset(options={"index": index})
        samples, texts = sample(model, tokenizer, observations, args.temperature, args.max_tokens)
        with torch.no_grad():
            old_logprobs = logprobs(model, samples, args.temperature)
        # The environment rewards each: 1 for the right number, else 0.
        rewards = torch.tensor(envs.step(texts)[1], dtype=torch.float32, device=model.device)
        advantages = group_advantages(rewards.view(args.num_prompts, args.group_size)).flatten()
        # A few optimizer steps on them; after the first, the policy is no longer pi_old and r no longer 1.
        for start in range(0, rows, args.minibatch_size):
            part = slice(start, start + args.minibatch_size)
            minibatch = Samples(*(field[part] for field in samples))
            new_logprobs = logprobs(model, minibatch, args.temperature)
            loss = clipped_loss(new_logprobs, old_logprobs[part], advantages[part], minibatch.loss_mask)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
        yield {
            "step": step,
            "reward_mean": float(rewards.mean()),
            "completion_tokens_mean": float(samples.loss_mask.sum(dim=1).float().mean()),
            "step_s": time.perf_counter() - started,
        }


def train_and_evaluate(args: argparse.Namespace) -> list[dict[str, float]]:
    """Trains from the beginning; returns the metrics of each step, step 0 being the evaluation before the first."""
    torch.manual_seed(args.seed)
    model, tokenizer = load_policy(args.model)
    envs: Any = gym.make_vec("GSM8K-v0", num_envs=args.num_prompts * args.group_size, dataset=args.dataset)
    eval_envs: Any = gym.make_vec("GSM8K-v0", num_envs=args.eval_problems, dataset=args.dataset, split="test")
    history: list[dict[str, float]] = []
    start: dict[str, float] = {"step": 0}
    for metrics in itertools.chain([start], train(args, model, tokenizer, envs)):
        if metrics["step"] % args.eval_interval == 0 or metrics["step"] == args.steps:
            metrics["eval_accuracy"] = accuracy(model, tokenizer, eval_envs, 0.0, args.max_tokens)
            metrics["eval_sampled_accuracy"] = accuracy(model, tokenizer, eval_envs, args.temperature, args.max_tokens)
        print("  ".join(f"{name} {value:.4g}" for name, value in metrics.items()), flush=True)
        history.append(metrics)
    return history


def plot(history: list[dict[str, float]], path: Path) -> None:
    """Draws the training reward and the held-out accuracy over steps."""
    from matplotlib import pyplot

    for name in ("reward_mean", "eval_accuracy", "eval_sampled_accuracy"):
        points = [(metrics["step"], metrics[name]) for metrics in history if name in metrics]
        pyplot.plot(*zip(*points, strict=True), label=name)
    pyplot.xlabel("GRPO step")
    pyplot.legend()
    pyplot.savefig(path, dpi=130)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help='"tiny", a folder or a hub id')
    parser.add_argument("--dataset", default="builtin:1-2", help="as gym.make takes it")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--num-prompts", type=int, default=32, help="N, problems a step")
    parser.add_argument("--group-size", type=int, default=8, help="G, completions of each, at least 2")
    parser.add_argument("--minibatch-size", type=int, default=128, help="completions of one optimizer step")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--eval-interval", type=int, default=10)
    parser.add_argument("--eval-problems", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="write the metrics to this file, a JSON object a line")
    parser.add_argument("--plot", type=Path, help="draw them into this picture")
    return parser.parse_args(argv)


def main() -> None:
    """Command line."""
    args = parse_args()
    history = train_and_evaluate(args)
    if args.log:
        args.log.write_text("".join(json.dumps(metrics) + "\n" for metrics in history))
    if args.plot:
        plot(history, args.plot)


if __name__ == "__main__":
    main()
