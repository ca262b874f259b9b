"""Language-model agents: one small interface over several inference engines.

    >>> import agents
    >>> sorted(agents.registered())[:1]
    ['scripted']

Importing this package imports no engine; `make` imports the one it is asked for.
"""

from agents.base import Agent, Completion, EngineError, FinishReason, SamplingParams, StreamingAgent
from agents.registry import make, register, registered

__all__ = [
    "Agent",
    "Completion",
    "EngineError",
    "FinishReason",
    "SamplingParams",
    "StreamingAgent",
    "make",
    "register",
    "registered",
]
