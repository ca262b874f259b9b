"""Where benchmark figures go: ``results/<name>.json``, each with the command, commit and versions that made it."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from runners.support.provenance import provenance

RESULTS = Path(__file__).parent / "results"


def write_results(name: str, figures: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Writes a benchmark's figures to ``<folder>/<name>.json`` and returns the path.

    Args:
        name: The file's name without its suffix, as a rule the script's.
        figures: The figures, as JSON values; a figure's key says its unit.
        folder: Where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    draft = path.with_suffix(".json.tmp")
    draft.write_text(json.dumps({**environment(), "figures": figures}, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def environment() -> dict[str, Any]:
    """Returns what figures need beside them: command, git commit, versions, processor and threads."""
    script = os.path.relpath(Path(sys.argv[0]).resolve(), RESULTS.parent.parent)
    return provenance(script, sys.argv[1:])
