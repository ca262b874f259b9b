"""How many faults put into objectives, sampling and updating do the tests see?

    pip install -e ".[train,dev,mutation]"
    python benchmarks/mutation.py                       # all packages, half an hour of processor time
    python benchmarks/mutation.py sampling --count 40
    python benchmarks/mutation.py --survivors           # those of the stored result once more

What is mutated, by which operators and with which tests stands in pyproject.toml, [tool.mutation]. Of each package's
mutants a sample is taken by seed. Each runs in a fork of a process that has imported torch and what else takes long,
with the package's fast tests, until one fails: the file on disk stays as it is, and the import gets the faulty source.
A mutant that runs out of its time has survived, like one that passes; only a test that fails kills.
"""

import argparse
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import time
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from _mutants import Mutant, change, mutants
from _results import RESULTS, write_results

ROOT = Path(__file__).parent.parent
REASONS = Path(__file__).parent / "mutation_survivors.toml"


class Faulty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module and gives it another source than the file's.

    Args:
        name: The module's.
        path: Its file.
        source: What it gets.
    """

    def __init__(self, name: str, path: Path, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        """Returns how to load the module, and None for any other."""
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=_Source(self))


class _Source(importlib.machinery.SourceFileLoader):
    def __init__(self, faulty: Faulty) -> None:
        super().__init__(faulty.name, str(faulty.path))
        self._faulty = faulty

    def get_code(self, fullname: str) -> CodeType:
        """Returns the code of the faulty source; no cache is read or written."""
        return compile(self._faulty.source, self.path, "exec", dont_inherit=True)


def outcome(tests: Sequence[str], select: str, cpu_s: int, mutant: Mutant | None = None) -> tuple[str, float]:
    """Runs tests in a fork, with a mutant or without.

    Args:
        tests: Files for pytest.
        select: Which of their tests, as -k has it.
        cpu_s: Most seconds of processor time; a minute with hardly any is too long as well.
        mutant: The fault.

    Returns:
        "killed", "survived" or "timeout", and the processor time in seconds.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        _run_tests(tests, select, cpu_s, mutant)
    looked, used = time.monotonic(), 0.0
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > looked + 60:
            looked, before, used = time.monotonic(), used, _cpu_s(child)
            if used < before + 0.5:
                os.killpg(child, signal.SIGKILL)
        time.sleep(0.02)
    seconds = usage.ru_utime + usage.ru_stime
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return "timeout", seconds
    return "survived" if status == 0 else "killed", seconds


def _cpu_s(process: int) -> float:
    after_name = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def _run_tests(tests: Sequence[str], select: str, cpu_s: int, mutant: Mutant | None) -> None:
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    first: list[str] = []
    if mutant is not None:
        source = mutant.source()
        assert source is not None
        name = ".".join(mutant.path.relative_to(ROOT).with_suffix("").parts)
        assert name not in sys.modules, name
        sys.meta_path.insert(0, Faulty(name, mutant.path, source))
        # The tests of the file itself are the likeliest to fail: most mutants need no others.
        first = [test for test in tests if test.endswith(f"test_{mutant.path.stem}.py")]
    for files in (first, [test for test in tests if test not in first]):
        # A time limit of pytest's would be a failure; here it must not be one.
        options = ["-x", "-q", "-k", select, "-p", "no:cacheprovider", "-o", "timeout=0"]
        found = pytest.main([*files, *options]) if files else 0
        if found not in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
            os._exit(int(found))
    os._exit(0)


def sample(package: str, settings: dict[str, Any], count: int) -> tuple[int, list[Mutant]]:
    """Returns how many mutants a package has, and those of the sample: all of them where there are fewer."""
    files = [path for path in sorted((ROOT / "runners" / package).glob("*.py")) if path.name not in settings["skip"]]
    every = [mutant for path in files for mutant in mutants(path, settings["operators"], settings["seed"])]
    every.sort(key=lambda mutant: mutant.rank)
    chosen: list[Mutant] = []
    for mutant in every:
        if len(chosen) < count and mutant.source() is not None:
            chosen.append(mutant)
    return len(every), chosen


def run(package: str, settings: dict[str, Any], count: int, known: Collection[str] = ()) -> dict[str, Any]:
    """Runs the sample of a package.

    Args:
        package: A folder in runners/.
        settings: [tool.mutation] of pyproject.toml.
        count: Size of the sample.
        known: Ranks of mutants that were killed before and are not run again.

    Returns:
        Counts, score and survivors.
    """
    tests = [str(path) for pattern in settings["tests"][package] for path in sorted(ROOT.glob(pattern))]
    found, usual = outcome(tests, settings["select"], 600)
    if found != "survived":
        raise SystemExit(f"The tests of {package} do not pass without a fault: pytest {' '.join(tests)}")
    limit = int(20 + 5 * usual)
    total, chosen = sample(package, settings, count)
    survivors, timeouts, spent = [], 0, usual
    for number, mutant in enumerate(chosen, 1):
        if mutant.rank in known:
            continue
        found, seconds = outcome(tests, settings["select"], limit, mutant)
        spent += seconds
        if found == "killed":
            print(f"{number:4} {mutant.path.name}:{mutant.line} killed", flush=True)
            continue
        timeouts += found == "timeout"
        source = mutant.source()
        assert source is not None
        survivor = {
            "file": str(mutant.path.relative_to(ROOT)),
            "line": mutant.line,
            "operator": mutant.operator,
            "change": change(mutant.path.read_text(encoding="utf-8"), source),
            "outcome": found,
            "rank": mutant.rank,
        }
        survivors.append(survivor)
        print(f"{number:4} {survivor['file']}:{mutant.line} {found}: {survivor['change']}", flush=True)
    killed = len(chosen) - len(survivors)
    return {
        "seed": settings["seed"],
        "mutants": total,
        "sampled": len(chosen),
        "killed": killed,
        "timeouts": timeouts,
        "score": round(killed / len(chosen), 3),
        "tests_cpu_s": round(usual, 1),
        "cpu_s": round(spent),
        "killed_ranks": [mutant.rank for mutant in chosen if mutant.rank not in {s["rank"] for s in survivors}],
        "survivors": sorted(survivors, key=lambda survivor: (survivor["file"], survivor["line"])),
    }


def main() -> None:
    """Prints survivors and scores, and stores them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutation"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", choices=[[], *settings["tests"]], help="default: all")
    parser.add_argument("--count", type=int, default=settings["count"], help="mutants of each package")
    parser.add_argument("--survivors", action="store_true", help="run those of the stored result only")
    args = parser.parse_args()
    for module in settings["preload"]:
        importlib.import_module(module)
    figures = _stored()
    reasons = {(entry["file"], entry["change"]): entry["reason"] for entry in _reasons()}
    for package in args.packages or settings["tests"]:
        known = figures[package]["killed_ranks"] if args.survivors else ()
        result = run(package, settings, args.count, known)
        for survivor in result["survivors"]:
            survivor["reason"] = reasons.get((survivor["file"], survivor["change"]), "")
        figures = _stored() | {package: result}
        print({name: value for name, value in result.items() if not isinstance(value, list)}, package, flush=True)
        write_results("mutation", figures)


def _stored() -> dict[str, Any]:
    path = RESULTS / "mutation.json"
    return json.loads(path.read_text(encoding="utf-8"))["figures"] if path.exists() else {}


def _reasons() -> list[dict[str, str]]:
    return tomllib.loads(REASONS.read_text(encoding="utf-8"))["survivor"] if REASONS.exists() else []


if __name__ == "__main__":
    main()
