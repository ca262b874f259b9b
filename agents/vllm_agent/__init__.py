"""vLLM: an engine of our own, or a running OpenAI-compatible server."""

from agents.vllm_agent.agent import VLLMAgent

__all__ = ["VLLMAgent"]
