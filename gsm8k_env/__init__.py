"""GSM8K as a Gymnasium text environment.

Importing this package registers ``GSM8K-v0``, ``GSM8KMultiTurn-v0`` (several attempts) and ``GSM8KTokens-v0`` (the same
token by token); ``gymnasium.make`` and ``gymnasium.make_vec`` then know them::

    import gymnasium as gym, gsm8k_env
    env = gym.make("GSM8K-v0")

The entry points are strings, so nothing but Gymnasium is loaded before an environment is made.
"""

from gymnasium.envs.registration import register

register(
    id="GSM8K-v0",
    entry_point="gsm8k_env.env:GSM8KEnv",
    vector_entry_point="gsm8k_env.vector:GSM8KVectorEnv",
)

register(
    id="GSM8KMultiTurn-v0",
    entry_point="gsm8k_env.multi_turn:GSM8KMultiTurnEnv",
)

register(
    id="GSM8KTokens-v0",
    entry_point="gsm8k_env.token_env:GSM8KTokensEnv",
)
