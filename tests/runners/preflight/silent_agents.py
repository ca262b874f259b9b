"""Scripted agents for the command line, which takes a class and no script."""

from agents.scripted_agent import ScriptedAgent


class NoAnswerAgent(ScriptedAgent):
    """Says that it does not know."""

    def __init__(self, model: str) -> None:
        super().__init__(model, script=lambda prompt, sample: "No idea.")


class EndlessAgent(ScriptedAgent):
    """Never ends."""

    def __init__(self, model: str) -> None:
        super().__init__(model, script=lambda prompt, sample: "1 " * 200)
