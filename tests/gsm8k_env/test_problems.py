"""Sources of problems: the generator, local files and their faults, and how "auto" chooses."""

import copy
import json
import os
import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from gsm8k_env import hub
from gsm8k_env import problems as problems_module
from gsm8k_env.prepare import prepared_rows
from gsm8k_env.problems import Problem, ProblemSet, load_problems, resolve_dataset
from gsm8k_env.rows import ground_truth_of

ROWS = [
    {"question": "Ann has 600 hats and buys 600. How many?", "answer": "600 + 600 = <<600+600=1200>>1200\n#### 1,200"},
    {"question": "Böb's 3 ducks lose 5 eggs. Change?", "answer": "0 - 5 = <<0-5=-5>>-5\n####  -5 "},
]
PROBLEMS = [
    Problem(question=ROWS[0]["question"], solution=ROWS[0]["answer"], ground_truth="1200"),
    Problem(question=ROWS[1]["question"], solution=ROWS[1]["answer"], ground_truth="-5"),
]

official = pytest.mark.skipif("GSM8K_DATASET" not in os.environ, reason="GSM8K_DATASET names no official data")


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def prepared(split: str = "train") -> list[dict[str, Any]]:
    return prepared_rows(ProblemSet(PROBLEMS, dataset="a test", split=split))


class TestProblemSet:
    def test_it_is_a_sequence(self) -> None:
        problems = ProblemSet(PROBLEMS, dataset="x", split="test")
        assert len(problems) == 2
        assert problems[1] is problems[-1] is PROBLEMS[1]
        assert list(problems) == list(problems[:]) == PROBLEMS
        assert problems.longest_question == max(len(PROBLEMS[0].question), len(PROBLEMS[1].question))

    def test_it_does_not_change(self) -> None:
        problems = ProblemSet(PROBLEMS, dataset="x", split="test")
        with pytest.raises(ValueError, match="read-only"):
            problems.questions[0] = "other"
        with pytest.raises(TypeError):
            problems[0] = PROBLEMS[1]  # type: ignore[index]

    def test_the_fingerprint_is_of_content_in_order(self) -> None:
        def fingerprint(problems: list[Problem], dataset: str = "x") -> str:
            return ProblemSet(problems, dataset=dataset, split="test").fingerprint

        assert fingerprint(PROBLEMS) == fingerprint(list(PROBLEMS), dataset="y")
        assert len(fingerprint(PROBLEMS)) == 64
        moved = (
            [Problem(question="ab", solution="c", ground_truth="1")],
            [Problem(question="a", solution="bc", ground_truth="1")],
        )
        others = [PROBLEMS[:1], PROBLEMS[::-1], [*PROBLEMS, PROBLEMS[0]], *moved]
        assert len({fingerprint(PROBLEMS), *map(fingerprint, others)}) == 6

    def test_copies_share(self) -> None:
        problems = load_problems("test", "builtin")
        assert copy.deepcopy(problems) is copy.copy(problems) is problems

    def test_a_loaded_set_is_pickled_by_name(self) -> None:
        problems = load_problems("test", "builtin")
        assert pickle.loads(pickle.dumps(problems)) is problems
        assert len(pickle.dumps(problems)) < 500

    def test_changed_data_is_noticed_when_unpickled(self, tmp_path: Path) -> None:
        path = write_jsonl(tmp_path / "train.jsonl", ROWS)
        data = pickle.dumps(load_problems("train", path))
        write_jsonl(path, ROWS[:1])
        with pytest.raises(ValueError, match="not what it was"):
            pickle.loads(data)


class TestBuiltin:
    def test_sizes_are_those_of_the_official_data(self) -> None:
        assert [len(load_problems(split, "builtin")) for split in ("train", "test")] == [7473, 1319]

    def test_one_object_a_process(self) -> None:
        assert load_problems("train", "builtin") is load_problems("train", "builtin:1-5")

    def test_splits_and_levels_differ(self) -> None:
        sources = [("train", "builtin"), ("test", "builtin"), ("train", "builtin:1"), ("train", "builtin:1-2")]
        sets = [load_problems(split, name) for split, name in sources]
        assert len({problems.fingerprint for problems in sets}) == 4
        assert not {problem.question for problem in sets[0]} & {problem.question for problem in sets[1]}

    def test_levels_are_numbers_of_steps(self) -> None:
        for name, steps in [
            ("builtin:1", {1}),
            ("builtin:4", {4}),
            ("builtin:2-3", {2, 3}),
            ("builtin", {1, 2, 3, 4, 5}),
        ]:
            assert {problem.solution.count("<<") for problem in load_problems("test", name)} == steps

    @pytest.mark.parametrize(
        ("name", "explicit"),
        [
            ("builtin", "builtin"),
            ("builtin:1-5", "builtin"),
            ("builtin:3-3", "builtin:3"),
            ("builtin:1-2", "builtin:1-2"),
            ("builtin:1-2:50", "builtin:1-2:50"),
            ("builtin:1-5:50", "builtin:1-5:50"),
        ],
    )
    def test_names(self, name: str, explicit: str) -> None:
        assert resolve_dataset(name) == explicit
        assert load_problems("test", name).dataset == explicit

    @pytest.mark.parametrize("name", ["builtin:0", "builtin:6", "builtin:", "builtin:1-9", "builtin:a", "Builtin"])
    def test_bad_levels(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"{name}.*'builtin:1-2'"):
            resolve_dataset(name)

    def test_levels_from_high_to_low(self) -> None:
        with pytest.raises(ValueError, match=r"'builtin:2-4' instead of 'builtin:4-2'"):
            resolve_dataset("builtin:4-2")

    def test_more_than_are_generated(self) -> None:
        with pytest.raises(ValueError, match=r"builtin:...:99999999 asks for too many problems: at most 1,000,000"):
            resolve_dataset("builtin:1:99999999")


class TestFiles:
    @pytest.mark.parametrize("name", ["train.jsonl", "train.parquet", "mine.jsonl"])
    def test_the_official_layout(self, tmp_path: Path, name: str) -> None:
        write = write_jsonl if name.endswith("jsonl") else write_parquet
        path = write(tmp_path / name, ROWS)
        problems = load_problems("train", str(path))
        assert list(problems) == PROBLEMS
        assert (problems.dataset, problems.split) == (str(path), "train")

    @pytest.mark.parametrize("name", ["test.jsonl", "validation.parquet"])
    def test_the_prepared_layout(self, tmp_path: Path, name: str) -> None:
        write = write_jsonl if name.endswith("jsonl") else write_parquet
        write(tmp_path / name, prepared("test"))
        assert list(load_problems("test", tmp_path)) == PROBLEMS

    def test_blank_lines_and_windows_line_ends_are_skipped(self, tmp_path: Path) -> None:
        path = tmp_path / "train.jsonl"
        path.write_bytes(b"\r\n".join(json.dumps(row).encode() for row in ROWS) + b"\r\n\r\n")
        assert list(load_problems("train", path)) == PROBLEMS

    def test_a_folder_serves_both_splits(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "train.jsonl", ROWS)
        write_jsonl(tmp_path / "test.jsonl", ROWS[1:])
        write_jsonl(tmp_path / "train_socratic.jsonl", [{"other": 1}])
        assert [len(load_problems(split, tmp_path)) for split in ("train", "test")] == [2, 1]

    def test_shards_are_joined_in_order(self, tmp_path: Path) -> None:
        for i, row in enumerate(ROWS):
            write_parquet(tmp_path / f"train-0000{i}-of-00002.parquet", [row])
        assert list(load_problems("train", tmp_path)) == PROBLEMS

    def test_a_relative_path_becomes_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_jsonl(tmp_path / "train.jsonl", ROWS)
        monkeypatch.chdir(tmp_path)
        assert resolve_dataset("train.jsonl") == str(tmp_path / "train.jsonl")
        assert load_problems("train", ".").dataset == str(tmp_path)

    def test_a_rewritten_file_is_read_again(self, tmp_path: Path) -> None:
        path = write_jsonl(tmp_path / "train.jsonl", ROWS)
        assert load_problems("train", path) is load_problems("train", path)
        write_jsonl(path, ROWS[:1])
        assert len(load_problems("train", path)) == 1

    def test_two_candidates_are_an_error(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "test.jsonl", ROWS)
        write_parquet(tmp_path / "validation.parquet", prepared("test"))
        with pytest.raises(ValueError, match=r"test\.jsonl and validation\.parquet.*'test' split"):
            load_problems("test", tmp_path)

    def test_a_folder_without_the_split(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "train.jsonl", ROWS)
        with pytest.raises(
            ValueError, match=r"no file for the 'test' split; looked for test\.jsonl, test\.parquet, val"
        ):
            load_problems("test", tmp_path)

    def test_a_training_file_is_not_tested_on(self, tmp_path: Path) -> None:
        path = write_jsonl(tmp_path / "train.jsonl", ROWS)
        with pytest.raises(ValueError, match=r"named as the 'train' split, but split='test'"):
            load_problems("test", path)

    @pytest.mark.parametrize("name", ["nowhere.jsonl", "./nowhere", "~/nowhere/at/all", "/nowhere/at/all"])
    def test_no_such_path(self, name: str) -> None:
        with pytest.raises(ValueError, match=r"no file or folder .*nowhere"):
            load_problems("train", name)

    def test_another_kind_of_file(self, tmp_path: Path) -> None:
        path = tmp_path / "train.csv"
        path.write_text("question,answer\n")
        with pytest.raises(ValueError, match=r"train\.csv is neither \.jsonl nor \.parquet"):
            load_problems("train", path)

    def test_an_empty_file(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"no problems in .*train\.jsonl"):
            load_problems("train", write_jsonl(tmp_path / "train.jsonl", []))

    def test_a_damaged_parquet_file(self, tmp_path: Path) -> None:
        path = tmp_path / "train.parquet"
        whole = write_parquet(path, ROWS * 999).read_bytes()
        for damaged in (b"PAR1 and then nothing", whole[:20] + b"\xff" * 40 + whole[60:]):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"train\.parquet: not a readable parquet file"):
                load_problems("train", path)

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (b"{", r"row 3: not JSON: .* at character 2"),
            (b'{"question": "\xff"}', r"row 3: not UTF-8"),
            (b"[" * 99_999, r"row 3: not JSON that can be read: maximum recursion depth"),
            (b'{"question": ' + b"9" * 5000 + b"}", r"row 3: not JSON that can be read: Exceeds the limit"),
            (
                b'{"question": "\\ud800 x", "answer": "#### 1"}',
                r"row 3, column \"question\": half a surrogate pair at character 1 of",
            ),
            (b"[1]", r"row 3: expected an object with columns, got list"),
            (b'{"prompt": "Q"}', r"row 3: column \"question\" is missing.*this one has \['prompt'\]"),
            (b'{"question": "Q"}', r"row 3, column \"answer\": expected a text, got None"),
            (b'{"question": " ", "answer": "#### 1"}', r"row 3, column \"question\": expected a text, got ' '"),
            (b'{"question": 7, "answer": "#### 1"}', r"row 3, column \"question\": expected a text, got 7"),
            (b'{"question": "Q", "answer": "so 18"}', r"row 3, column \"answer\": no \"#### <number>\" in .*'so 18'"),
            (b'{"question": "Q", "answer": "#### n/a"}', r"row 3, column \"answer\": the answer 'n/a' is not a number"),
            (b'{"extra_info": {}}', r"row 3, column \"reward_spec\": expected an object, got None"),
            (
                b'{"extra_info": {"question": "Q"}, "reward_spec": {"ground_truth": "1"}}',
                r"row 3, column \"extra_info\.answer\": expected a text, got None",
            ),
            (
                b'{"extra_info": {"question": "Q", "answer": "1"}, "reward_spec": {"ground_truth": "one"}}',
                r"row 3, column \"reward_spec\.ground_truth\": the answer 'one' is not a number",
            ),
        ],
        ids=range(15),
    )
    def test_a_bad_row_is_named(self, tmp_path: Path, row: bytes, message: str) -> None:
        path = write_jsonl(tmp_path / "train.jsonl", ROWS)
        path.write_bytes(path.read_bytes() + row + b"\n")
        with pytest.raises(ValueError, match=r"train\.jsonl, " + message):
            load_problems("train", path)

    def test_a_bad_row_of_a_parquet_file_is_named(self, tmp_path: Path) -> None:
        path = write_parquet(tmp_path / "train.parquet", [ROWS[0], {"question": "Q", "answer": None}])
        with pytest.raises(ValueError, match=r'train\.parquet, row 2, column "answer": expected a text, got None'):
            load_problems("train", path)

    @official
    def test_the_official_data(self) -> None:
        folder = os.environ["GSM8K_DATASET"]
        for split, count in [("train", 7473), ("test", 1319)]:
            problems = load_problems(split, folder)
            lines = (Path(folder) / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
            assert len(problems) == len(rows) == count
            assert [(problem.question, problem.solution) for problem in problems] == [
                (row["question"], row["answer"]) for row in rows
            ]
            truths = [row["answer"].split("#### ")[1].replace(",", "") for row in rows]
            assert [problem.ground_truth for problem in problems] == truths


class TestGroundTruth:
    @pytest.mark.parametrize(
        ("solution", "answer"),
        [("a\n#### 18", "18"), ("#### 1,234,567", "1234567"), ("####-3", "-3"), ("#### 1\n#### 2.5 ", "2.5")],
    )
    def test_it_is_what_stands_after_the_last_mark(self, solution: str, answer: str) -> None:
        assert ground_truth_of(solution) == answer

    @pytest.mark.parametrize("solution", ["", "18", "### 18", "#### none"])
    def test_none(self, solution: str) -> None:
        with pytest.raises(ValueError, match="number"):
            ground_truth_of(solution)


class TestNames:
    @pytest.mark.parametrize("dataset", ["", None, 3, b"builtin"])
    def test_no_name(self, dataset: Any) -> None:
        with pytest.raises(ValueError, match="dataset must be a name or a path"):
            resolve_dataset(dataset)

    def test_an_unknown_name(self) -> None:
        with pytest.raises(ValueError, match=r"Unknown dataset 'gsm9k': .*'openai/gsm8k'"):
            resolve_dataset("gsm9k")

    def test_an_unknown_split(self) -> None:
        with pytest.raises(ValueError, match=r"split 'validation'; allowed: 'train', 'test'"):
            load_problems("validation", "builtin")

    def test_hub_ids_stay_as_they_are(self) -> None:
        assert resolve_dataset("openai/gsm8k") == "openai/gsm8k"
        assert resolve_dataset("someone/my-gsm8k") == "someone/my-gsm8k"


class TestAuto:
    def test_the_variable_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_jsonl(tmp_path / "train.jsonl", ROWS)
        monkeypatch.setenv("GSM8K_DATASET", str(tmp_path))
        assert resolve_dataset("auto") == str(tmp_path)
        assert list(load_problems("train")) == PROBLEMS

    @pytest.mark.parametrize("value", ["no-such-folder/x.jsonl", "auto", "bultin"])
    def test_a_broken_variable_is_an_error(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("GSM8K_DATASET", value)
        with pytest.raises(ValueError, match=f"variable GSM8K_DATASET='{value}' names no data set"):
            load_problems("train", "auto")

    def test_an_explicit_name_ignores_the_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GSM8K_DATASET", "nowhere")
        assert resolve_dataset("builtin") == "builtin"

    def test_the_hub_comes_next(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GSM8K_DATASET", raising=False)
        monkeypatch.setattr("gsm8k_env.problems.read_hub", lambda repo, split: PROBLEMS)
        clear_cache(monkeypatch)
        assert resolve_dataset("auto") == "openai/gsm8k"
        assert load_problems("test").dataset == "openai/gsm8k"

    def test_builtin_comes_last_with_a_warning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GSM8K_DATASET", raising=False)
        monkeypatch.setattr("gsm8k_env.problems.read_hub", no_hub)
        clear_cache(monkeypatch)
        with pytest.warns(
            UserWarning, match=r"generated problems, not GSM8K\. no hub here.*set GSM8K_DATASET"
        ) as warned:
            assert load_problems("test").dataset == "builtin"
        assert len(warned) == 1

    def test_an_explicit_hub_name_has_no_substitute(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gsm8k_env.problems.read_hub", no_hub)
        clear_cache(monkeypatch)
        with pytest.raises(ValueError, match=r"no hub here.*set GSM8K_DATASET"):
            load_problems("train", "openai/gsm8k")


def no_hub(repo: str, split: str) -> list[Problem]:
    raise hub.HubUnavailableError("no hub here")


def clear_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a fresh cache in place of the process's, so that what a test puts into it goes with the test."""
    monkeypatch.setattr(problems_module, "_load", lru_cache(problems_module._load.__wrapped__))


def test_builtin_count_is_that_of_training():
    few, many = load_problems("train", "builtin:1-2:50"), load_problems("train", "builtin:1-2:80")
    assert len(few) == 50
    assert list(many[:50]) == list(few)
    assert len(load_problems("test", "builtin:1-2:50")) == 1319


def solution(steps: int) -> str:
    lines = [f"It is {n} + 1 = <<{n}+1={n + 1}>>{n + 1}." for n in range(steps)]
    return "\n".join([*lines, "So that is it.", f"#### {steps}"])


class TestSteps:
    """A number of steps behind a source's name, as behind "builtin"."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Five problems of 0, 2, 1, 3 and 2 steps."""
        rows = [{"question": f"Q{i}?", "answer": solution(steps)} for i, steps in enumerate((0, 2, 1, 3, 2))]
        for split in ("train", "test"):
            write_jsonl(tmp_path / f"{split}.jsonl", rows)
        return tmp_path

    @pytest.mark.parametrize(
        "suffix, kept", [("", [0, 2, 1, 3, 2]), (":2", [2, 2]), (":1-2", [2, 1, 2]), (":2-2", [2, 2]), (":3-99", [3])]
    )
    def test_problems_of_that_many_steps_are_left_in_their_order(self, folder, suffix, kept) -> None:
        for source in (folder, folder / "train.jsonl"):
            problems = load_problems("train", f"{source}{suffix}")
            assert [problem.num_steps for problem in problems] == kept
            assert [problem.solution for problem in problems] == [solution(steps) for steps in kept]
            assert problems.dataset == f"{source}{suffix.replace('2-2', '2')}"
            assert pickle.loads(pickle.dumps(problems)).fingerprint == problems.fingerprint

    def test_auto_takes_them_too(self, folder, monkeypatch) -> None:
        monkeypatch.setenv(problems_module.DATASET_VARIABLE, str(folder))
        assert resolve_dataset("auto:2") == f"{folder}:2"
        monkeypatch.setenv(problems_module.DATASET_VARIABLE, f"{folder}:1-2")
        assert resolve_dataset("auto") == f"{folder}:1-2"
        monkeypatch.setenv(problems_module.DATASET_VARIABLE, "builtin")
        assert resolve_dataset("auto:2") == "builtin:2"

    def test_built_in_levels_are_the_same_count(self) -> None:
        assert {problem.num_steps for problem in load_problems("test", "builtin:2-3")} == {2, 3}

    def test_a_path_of_that_very_name_comes_first(self, folder) -> None:
        other = folder / "x:2"
        other.mkdir()
        write_jsonl(other / "train.jsonl", [ROWS[0]])
        assert [problem.num_steps for problem in load_problems("train", str(other))] == [1]

    @pytest.mark.parametrize(
        "suffix, message",
        [
            (":7", "no train problem has that many steps; there are 1 of 0, 1 of 1, 2 of 2, 1 of 3"),
            (":3-1", "steps run from low to high, ':1-3'"),
            (":2:1-2", "asks for ':1-2' of '.*:2', which has its numbers of steps already"),
        ],
    )
    def test_what_there_is_not_is_a_sentence(self, folder, suffix, message) -> None:
        with pytest.raises(ValueError, match=message):
            load_problems("train", f"{folder}{suffix}")

    def test_steps_of_a_hub_id_are_kept_apart_from_it(self, monkeypatch) -> None:
        asked = []
        monkeypatch.setattr(problems_module, "read_hub", lambda name, split: asked.append(name) or PROBLEMS)
        problems_module._load.cache_clear()
        assert len(load_problems("train", "openai/gsm8k:1")) == 2
        assert asked == ["openai/gsm8k"]
        problems_module._load.cache_clear()

    @official
    def test_the_official_numbers(self) -> None:
        folder = os.environ["GSM8K_DATASET"]
        counts = [len(load_problems("test", f"{folder}:{steps}")) for steps in range(1, 9)]
        assert counts == [65, 357, 364, 290, 138, 57, 21, 9]  # of 1,319; 18 have no annotation
