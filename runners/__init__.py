"""The composition root: environments, agents and objectives meet here. Importing it loads none of them.

Raises:
    ImportError: If another package of the name `agents` hides the one that belongs here, or was installed over it.
"""

from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path

_spec = _find_spec("agents")
_found = _spec and _spec.origin
if not _found or "agents.registry" not in _Path(_found).read_text(encoding="utf-8"):
    raise ImportError(
        f"The package 'agents' that Python finds, {_found}, is not that of gsm8k-env: take its folder off the path; "
        "or, if it is openai-agents', use a virtual environment without it and install gsm8k-env again."
    )
