"""A language-model agent in a Gymnasium loop: `agents.make` takes any engine, `gym.make` any text environment.

python examples/gym_loop.py
"""

import gymnasium as gym

import agents
import gsm8k_env  # noqa: F401  (registers GSM8K-v0)

env = gym.make("GSM8K-v0", split="test", dataset="builtin:1-2", render_mode="ansi")
agent = agents.make("transformers", model="tiny")
rewards = []
for seed in range(10):
    observation, info = env.reset(seed=seed)
    ended = False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(agent.act(observation))
        ended = terminated or truncated
    rewards.append(float(reward))
    print(env.render(), end="\n\n")
print(f"solved {sum(rewards):.0f} of {len(rewards)}")
env.close()
agent.close()
