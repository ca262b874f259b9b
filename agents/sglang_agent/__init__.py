"""SGLang: an engine of our own, or a running server."""

from agents.sglang_agent.agent import SGLangAgent

__all__ = ["SGLangAgent"]
