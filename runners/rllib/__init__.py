"""GRPO in RLlib's new API stack: thin hooks around `runners.objectives` and an agent."""
