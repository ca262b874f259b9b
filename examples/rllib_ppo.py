"""RLlib's own PPO on a language model, one token an action: the bundled model on problems of one step.

    python examples/rllib_ppo.py

An env runner steps 32 environments at once, so that the model reads one token of each in a forward pass.
"""

import argparse
import time

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from agents.models import resolve_model
from runners.token_module.module import CausalLMModule


def parse_args() -> argparse.Namespace:
    """Returns the settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="a folder or hub id (default: %(default)s)")
    parser.add_argument("--dataset", default="builtin:1", help="default: %(default)s")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=4096, help="tokens an iteration")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--output-dir", help="where the trained model goes, as a Hugging Face folder")
    return parser.parse_args()


def make_config(args: argparse.Namespace) -> PPOConfig:
    """Returns PPO's."""
    env_config = {
        "dataset": args.dataset,
        "tokenizer": str(resolve_model(args.model)),  # the model's tokens are the actions
        "observation": "dict",
        "max_tokens": 64,
        "max_prompt_tokens": 256,
    }
    module = RLModuleSpec(module_class=CausalLMModule, model_config={"model": args.model})
    return (
        PPOConfig()
        .environment("gsm8k_env:GSM8KTokens-v0", env_config=env_config)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=32)
        .rl_module(rl_module_spec=module)
        .training(
            train_batch_size_per_learner=args.batch_size,
            minibatch_size=args.batch_size // 4,
            shuffle_batch_per_epoch=False,  # an episode's steps stay together, and are computed as one sequence
            num_epochs=1,
            lr=args.lr,
            gamma=1.0,
            lambda_=1.0,
            use_kl_loss=False,
            entropy_coeff=0.0,
            vf_loss_coeff=0.1,
            grad_clip=1.0,
        )
        .debugging(seed=0, log_level="ERROR")
    )


def main() -> None:
    """Trains, and prints the mean return of each iteration's episodes."""
    args = parse_args()
    algo = make_config(args).build_algo()
    for iteration in range(1, args.iterations + 1):
        started = time.perf_counter()
        sampled = algo.train()["env_runners"]
        print(
            f"iteration {iteration}  episodes {sampled['num_episodes']:.0f}  "
            f"mean_return {sampled['episode_return_mean']:.3f}  mean_tokens {sampled['episode_len_mean']:.1f}  "
            f"seconds {time.perf_counter() - started:.1f}",
            flush=True,
        )
    if args.output_dir:
        algo.get_module().write_policy(args.output_dir)
    algo.stop()


if __name__ == "__main__":
    main()
