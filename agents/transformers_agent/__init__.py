"""The embedded default engine: Hugging Face transformers, in the process of the caller."""

from agents.transformers_agent.agent import TransformersAgent

__all__ = ["TransformersAgent"]
