"""Mutants of a source file: cosmic-ray's operators and two more, without those that no test could or should see."""

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cosmic_ray.plugins
import parso
from cosmic_ray.ast import ast_nodes
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Example, Operator
from parso.python.tree import Name

Span = tuple[tuple[int, int], tuple[int, int]]  # (line from 1, column from 0) of beginning and end


class DropKeyword(Operator):
    """Leaves a keyword argument out of a call: a setting that gets lost on its way."""

    def mutation_positions(self, node: Any) -> Iterator[Span]:
        """Yields each `name=value` of a call."""
        if node.type == "argument" and getattr(node.children[1], "value", "") == "=":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Returns `**{}` in its place, which passes nothing."""
        return _leaf("**{}", node)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Returns one."""
        return (Example("f(1, a=b)", "f(1, **{})"),)


class DropStatement(Operator):
    """Leaves out a call for its effect, a `raise`, or an assignment to something other than a new name."""

    def mutation_positions(self, node: Any) -> Iterator[Span]:
        """Yields each such statement."""
        if node.parent is None or node.parent.type != "simple_stmt":
            return
        if node.type == "expr_stmt":
            equals = node.children[1].get_code().strip()
            dropped = equals != "=" or node.children[0].type == "atom_expr"
            dropped = dropped and not equals.startswith(":")
        else:
            dropped = node.type in ("atom_expr", "raise_stmt")
        if dropped:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Returns `pass`."""
        return _leaf("pass", node)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Returns one."""
        return (Example("a.b = 1", "pass"),)


def _leaf(text: str, node: Any) -> Name:
    return Name(text, node.start_pos, node.get_first_leaf().prefix)


OURS: dict[str, type[Operator]] = {"DropKeyword": DropKeyword, "DropStatement": DropStatement}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One fault.

    Attributes:
        path: Of the file.
        operator: Its name, cosmic-ray's or one of OURS.
        occurrence: Which of the places in the file where the operator fits.
        line: From 1, where it begins.
        rank: What a sample is sorted by; made of the line's text, so that edits elsewhere leave it as it is.
    """

    path: Path
    operator: str
    occurrence: int
    line: int
    rank: str

    def source(self) -> str | None:
        """Returns the file with the fault; None if that does not compile."""
        faulty = mutate_code(self.path.read_text(encoding="utf-8"), _operator(self.operator), self.occurrence)
        try:
            compile(faulty, str(self.path), "exec")
        except SyntaxError:
            return None
        return faulty


def mutants(path: Path, operators: Sequence[str], seed: int) -> Iterator[Mutant]:
    """Yields the mutants of a file outside `excluded`."""
    source = path.read_text(encoding="utf-8")
    lines, skipped, seen = source.split("\n"), excluded(source), Counter[str]()
    tree = parso.parse(source)
    for name in operators:
        operator = _operator(name)
        places = ((node, span) for node in ast_nodes(tree) for span in operator.mutation_positions(node))
        for occurrence, (node, span) in enumerate(places):
            # The `*` before keyword-only parameters is no multiplication.
            marker = node.parent is not None and node.parent.type == "parameters"
            if marker or any(start <= span[0] and span[1] <= end for start, end in skipped):
                continue
            key = f"{seed} {path.parent.name}/{path.name} {name} {lines[span[0][0] - 1].strip()}"
            seen[key] += 1
            rank = hashlib.sha256(f"{key} {seen[key]}".encode()).hexdigest()[:12]
            yield Mutant(path=path, operator=name, occurrence=occurrence, line=span[0][0], rank=rank)


def change(source: str, faulty: str) -> str:
    """Returns the lines that differ, as "before -> after", without indentation."""
    before, after = source.split("\n"), faulty.split("\n")
    head = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    old, new = (" ".join(" ".join(lines[head : len(lines) - tail]).split()) for lines in (before, after))
    return f"{old} -> {new or '(nothing)'}"


def excluded(source: str) -> list[Span]:
    """Returns where nothing is mutated.

    Type annotations; the arguments of decorators; what a `raise`, a warning or a log message says; `assert`, which
    states what holds and is no behaviour; `__all__`. (No operator touches a text, and so a docstring.)
    """
    nodes: list[ast.expr | ast.stmt | ast.keyword | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.arg, ast.AnnAssign)):
            nodes.append(node.annotation)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            nodes.append(node.returns)
        elif isinstance(node, ast.Raise):
            nodes += [node.exc, node.cause]
        elif isinstance(node, ast.Assert) or (
            isinstance(node, ast.Assign) and "__all__" in [ast.unparse(target) for target in node.targets]
        ):
            nodes.append(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "logger.warning",
            "logger.info",
            "warnings.warn",
        ):
            nodes += [*node.args, *node.keywords]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call):
                    nodes += [*decorator.args, *decorator.keywords]
    return [_span(node) for node in nodes if node is not None]


def _span(node: ast.expr | ast.stmt | ast.keyword) -> Span:
    assert node.end_lineno is not None and node.end_col_offset is not None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _operator(name: str) -> Operator:
    return (OURS.get(name) or cosmic_ray.plugins.get_operator(f"core/{name}"))()
