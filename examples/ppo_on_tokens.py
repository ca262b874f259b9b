"""PPO (https://arxiv.org/abs/1707.06347) on GSM8KTokens-v0, in one file, with nothing but Gymnasium and PyTorch.

    python examples/ppo_on_tokens.py

A policy from scratch, an embedding and an MLP, learns the answers of a few problems by heart, digit by digit.
"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import nn
from torch.distributions import Categorical


def parse_args() -> argparse.Namespace:
    """Returns the settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="builtin:1:8", help="eight problems of one step (default: %(default)s)")
    parser.add_argument("--num-envs", type=int, default=32)
    parser.add_argument("--num-steps", type=int, default=32, help="tokens an environment and update")
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--num-epochs", type=int, default=4)
    parser.add_argument("--num-minibatches", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--gae-lambda", type=float, default=0.95)
    parser.add_argument("--clip-param", type=float, default=0.2)
    parser.add_argument("--entropy-coeff", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Policy(nn.Module):
    """Embeds every place of the sequence; two heads on one MLP: logits of the next token, and the value."""

    def __init__(self, num_tokens: int, length: int, num_actions: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, 8)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(8 * length, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh())
        self.actor = nn.Linear(128, num_actions)
        self.critic = nn.Linear(128, 1)
        nn.init.zeros_(self.actor.weight)  # every action is equally likely at first

    def forward(self, token_ids: torch.Tensor) -> tuple[Categorical, torch.Tensor]:
        """Returns the distribution of the next token and the value [N], of token ids [N, length]."""
        hidden = self.body(self.embedding(token_ids))
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).squeeze(-1)


def gae(
    rewards: torch.Tensor, values: torch.Tensor, dones: torch.Tensor, next_value: torch.Tensor, lam: float
) -> torch.Tensor:
    """Returns the advantages [T, N] without discount; `dones` says where an episode ended with the step."""
    advantages = torch.zeros_like(rewards)
    last = torch.zeros_like(next_value)
    for t in reversed(range(len(rewards))):
        following = values[t + 1] if t + 1 < len(rewards) else next_value
        delta = rewards[t] + following * ~dones[t] - values[t]
        advantages[t] = last = delta + lam * ~dones[t] * last
    return advantages


def main() -> None:
    """Trains, and prints the mean return of each update's episodes."""
    args = parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    envs: Any = gym.make_vec(  # the annotation of its spaces is too general
        "gsm8k_env:GSM8KTokens-v0",
        num_envs=args.num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},  # no step is lost to resets
        dataset=args.dataset,
        instruction="none",
        alphabet="0123456789",
        max_tokens=2,
        max_prompt_tokens=160,
        observation="dict",
    )
    space = envs.single_observation_space["token_ids"]
    policy = Policy(int(space.high.max()) + 1, space.shape[0], int(envs.single_action_space.n))
    optimizer = torch.optim.Adam(policy.parameters(), lr=args.lr)
    observations, _ = envs.reset(seed=args.seed)
    token_ids = torch.as_tensor(observations["token_ids"])

    for update in range(1, args.updates + 1):
        steps = []
        for _ in range(args.num_steps):
            with torch.no_grad():
                distribution, value = policy(token_ids)
            action = distribution.sample()
            observations, reward, terminated, truncated, _ = envs.step(action.numpy())
            done = torch.as_tensor(terminated | truncated)
            steps.append((token_ids, action, distribution.log_prob(action), value, torch.as_tensor(reward), done))
            token_ids = torch.as_tensor(observations["token_ids"])
        states, actions, old_logprobs, values, rewards, dones = map(torch.stack, zip(*steps, strict=True))
        with torch.no_grad():
            next_value = policy(token_ids)[1]
        advantages = gae(rewards.float(), values, dones, next_value, args.gae_lambda).flatten()
        returns = advantages + values.flatten()
        states, actions, old_logprobs = states.flatten(0, 1), actions.flatten(), old_logprobs.flatten()

        for _ in range(args.num_epochs):
            for batch in np.array_split(rng.permutation(len(states)), args.num_minibatches):
                distribution, value = policy(states[batch])
                ratio = (distribution.log_prob(actions[batch]) - old_logprobs[batch]).exp()
                advantage = advantages[batch]
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                clipped = ratio.clamp(1 - args.clip_param, 1 + args.clip_param)
                policy_loss = -torch.min(ratio * advantage, clipped * advantage).mean()
                value_loss = 0.5 * (value - returns[batch]).square().mean()
                loss = policy_loss + value_loss - args.entropy_coeff * distribution.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
                optimizer.step()
        mean_return = float(rewards.sum() / dones.sum().clamp(min=1))
        print(f"update {update}  episodes {int(dones.sum())}  mean_return {mean_return:.3f}", flush=True)
    envs.close()


if __name__ == "__main__":
    main()
