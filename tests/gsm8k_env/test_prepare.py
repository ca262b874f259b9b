"""`python -m gsm8k_env.prepare` writes what SkyRL, verl, `datasets` and this package read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow.parquet
import pytest

from gsm8k_env.prepare import main, prepare
from gsm8k_env.problems import load_problems


def test_a_row_has_the_documented_layout(tmp_path: Path) -> None:
    prepare(tmp_path, dataset="builtin:1")
    problem = load_problems("test", "builtin:1")[3]
    row = pyarrow.parquet.read_table(tmp_path / "validation.parquet").to_pylist()[3]
    assert row == {
        "data_source": "builtin:1",
        "prompt": [
            {
                "role": "user",
                "content": problem.question
                + ' Think it through step by step, then write the final number after "####".',
            }
        ],
        "env_class": "gsm8k",
        "ability": "math",
        "reward_spec": {"method": "rule", "ground_truth": problem.ground_truth},
        "reward_model": {"style": "rule", "ground_truth": problem.ground_truth},
        "extra_info": {"split": "test", "index": 3, "answer": problem.solution, "question": problem.question},
    }


def test_verls_reward_manager_finds_the_ground_truth_and_skyrls_environment_too(tmp_path: Path) -> None:
    prepare(tmp_path, dataset="builtin:1", max_train_dataset_length=5)
    rows = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "train.parquet"), cache_dir=str(tmp_path / "cache"), split="train"
    )
    problems = list(load_problems("train", "builtin:1"))[:5]
    # verl/workers/reward_manager/naive.py
    assert [row["reward_model"]["ground_truth"] for row in rows] == [problem.ground_truth for problem in problems]
    assert {row["reward_model"]["style"] for row in rows} == {"rule"}
    # skyrl_gym/envs/gsm8k/env.py
    assert [row["reward_spec"]["ground_truth"] for row in rows] == [problem.ground_truth for problem in problems]


def test_what_it_writes_loads_back(tmp_path: Path) -> None:
    written = prepare(tmp_path, dataset="builtin")
    assert written == {tmp_path / "train.parquet": 7473, tmp_path / "validation.parquet": 1319}
    for split in ("train", "test"):
        loaded, source = load_problems(split, tmp_path), load_problems(split, "builtin")
        assert list(loaded) == list(source)
        assert loaded.fingerprint == source.fingerprint


@pytest.mark.skipif("GSM8K_DATASET" not in os.environ, reason="GSM8K_DATASET names no copy of the official data")
def test_it_equals_the_official_rows(tmp_path: Path) -> None:
    folder = Path(os.environ["GSM8K_DATASET"])
    prepare(tmp_path / "out", dataset=str(folder))
    files = {"train": "train.parquet", "test": "validation.parquet"}
    tables = datasets.load_dataset(
        "parquet",
        data_files={split: str(tmp_path / "out" / name) for split, name in files.items()},
        cache_dir=str(tmp_path / "cache"),
    )
    for split, count in [("train", 7473), ("test", 1319)]:
        lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = list(tables[split])
        assert len(rows) == len(lines) == count
        for index, (row, line) in enumerate(zip(rows, lines, strict=True)):
            item = json.loads(line)
            assert row["data_source"] == "openai/gsm8k"
            assert row["extra_info"] == {
                "split": split,
                "index": index,
                "question": item["question"],
                "answer": item["answer"],
            }
            assert row["reward_spec"]["ground_truth"] == item["answer"].split("#### ")[1].replace(",", "")
            assert row["prompt"][0]["content"].startswith(item["question"] + " ")
        assert list(load_problems(split, tmp_path / "out")) == list(load_problems(split, folder))


def test_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gsm8k_env.prepare", "--output_dir", str(tmp_path / "a" / "b")]
    options = ["--dataset", "builtin:1-2", "--max_train_dataset_length", "10", "--instruction", "boxed"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == [
        "source: builtin:1-2",
        f"{tmp_path}/a/b/train.parquet: 10 problems",
        f"{tmp_path}/a/b/validation.parquet: 1,319 problems",
    ]
    rows = pyarrow.parquet.read_table(tmp_path / "a" / "b" / "train.parquet").to_pylist()
    first = list(load_problems("train", "builtin:1-2"))[:10]
    assert [row["extra_info"]["question"] for row in rows] == [problem.question for problem in first]
    assert rows[0]["prompt"][0]["content"].endswith("\\boxed{}.")
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["train.parquet", "validation.parquet"]


def test_a_larger_limit_keeps_everything(tmp_path: Path) -> None:
    assert prepare(tmp_path, dataset="builtin", max_train_dataset_length=10**6)[tmp_path / "train.parquet"] == 7473


def test_a_failed_run_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, dataset="builtin", max_train_dataset_length=3)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = pyarrow.parquet.write_table

    def fill_the_disk(table: pyarrow.Table, path: Path) -> None:
        write(table, path)
        if "validation" in path.name:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(pyarrow.parquet, "write_table", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        prepare(tmp_path, dataset="builtin:1")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "nowhere.jsonl"], "no file or folder nowhere.jsonl"),
        (["--dataset", "bultin"], "neither 'auto', 'builtin'"),
        (["--dataset", "builtin", "--instruction", "boxd"], "allowed: 'hash', 'boxed', 'none'"),
    ],
)
def test_a_bad_value_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["--output_dir", str(tmp_path), *arguments]) == 1
    complaint = capsys.readouterr().err
    assert message in complaint
    assert len(complaint.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unusable_folder_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--output_dir", str(tmp_path / "file"), "--dataset", "builtin"]) == 1
    assert "file" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-3"])
def test_a_bad_limit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    assert main(["--output_dir", str(tmp_path), "--dataset", "builtin", f"--max_train_dataset_length={value}"]) == 1
    message = f"max_train_dataset_length must be an integer of at least 1, got {value}."
    assert capsys.readouterr().err == f"gsm8k_env.prepare: {message}\n"
