"""Imports what training needs, in a process of its own: an import that ends the process does not end the doctor.

`probe()` runs this file as a script, which prints a line of JSON after each import.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

# What is looked up in a package: transformers imports the most of itself on demand.
MODULES = {"torch": "", "transformers": "AutoModelForCausalLM", "ray": ""}
_LONGEST_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What came of the imports.

    Attributes:
        errors: Module -> why it cannot be imported, None where it can; those that are not installed are left out.
        gpus: Of each GPU that torch sees, its name and its memory in bytes.
    """

    errors: dict[str, str | None] = field(default_factory=dict)
    gpus: tuple[tuple[str, int], ...] = ()


def probe(modules: Sequence[str], timeout_s: float = _LONGEST_S) -> Probe:
    """Imports some of `MODULES` one after another.

    Args:
        modules: Those that are installed.
        timeout_s: Seconds for all of them.
    """
    if not modules:
        return Probe()
    # -P: this file's folder is not put on the path.
    command = [sys.executable, "-P", __file__, *modules]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
        output, ending = done.stdout, f"the process ended with {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        ending = f"it took more than {timeout_s:g} s"
    answers = [json.loads(line) for line in output.splitlines() if line.startswith('{"module"')]
    errors = {answer["module"]: answer["error"] for answer in answers}
    gpus = tuple((name, size) for answer in answers for name, size in answer["gpus"])
    # The first that gave no answer ended the process; those behind it were not tried.
    for module in modules:
        if module not in errors:
            errors[module] = ending
            break
    return Probe(errors=errors, gpus=gpus)


def _answer(module: str) -> dict[str, object]:
    gpus: list[tuple[str, int]] = []
    try:
        imported = importlib.import_module(module)
        if MODULES[module]:
            getattr(imported, MODULES[module])
        if module == "torch" and imported.cuda.is_available():
            properties = [imported.cuda.get_device_properties(i) for i in range(imported.cuda.device_count())]
            gpus = [(one.name, one.total_memory) for one in properties]
    except Exception as error:  # a broken package raises anything
        return {"module": module, "error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", "gpus": []}
    return {"module": module, "error": None, "gpus": gpus}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(json.dumps(_answer(name)), flush=True)
