"""An agent that answers from a function: for tests and for trying a loop without a model."""

from agents.scripted_agent.agent import ScriptedAgent

__all__ = ["ScriptedAgent"]
