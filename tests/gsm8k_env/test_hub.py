"""The hub is asked only if it answers, and its cache serves where it does not."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from gsm8k_env import hub

ROWS = [
    {"question": "Ann has 600 hats and buys 600. How many?", "answer": "600 + 600 = <<600+600=1200>>1200\n#### 1,200"},
    {"question": "Bob has 3 ducks and buys 5. How many?", "answer": "3 + 5 = <<3+5=8>>8\n#### 8"},
]


@pytest.fixture
def web_server() -> Iterator[str]:
    """The address of a server that answers everything with 404."""

    class NotFound(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_any_answer_counts_as_reachable(web_server: str) -> None:
    assert hub.hub_reachable(web_server)


def test_a_refused_connection_is_no_answer() -> None:
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        start = time.monotonic()
        assert not hub.hub_reachable(f"http://127.0.0.1:{bound.getsockname()[1]}")
    assert time.monotonic() - start < 10  # the default wait is longer


def test_silence_is_no_answer_and_bounded() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        start = time.monotonic()
        assert not hub.hub_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.3)
    assert time.monotonic() - start < 10  # the default wait is longer


def test_without_a_hub_auto_falls_back_in_seconds(tmp_path: Path) -> None:
    start = time.monotonic()
    printed = run_offline(
        tmp_path,
        "import warnings; from gsm8k_env.problems import load_problems, resolve_dataset\n"
        "with warnings.catch_warnings(record=True) as warned: print(resolve_dataset())\n"
        "print(warned[0].message)\n"
        "try: load_problems('train', 'openai/gsm8k')\n"
        "except ValueError as error: print(error)",
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    assert time.monotonic() - start < 60
    name, warning, error = printed.splitlines()
    assert name == "builtin"
    assert warning.startswith("Using generated problems, not GSM8K. http://127.0.0.1:9 does not answer")
    assert error.startswith("http://127.0.0.1:9 does not answer, and the local cache of `datasets` has no copy of")


@pytest.mark.parametrize("setting", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}], ids=str)
def test_the_cache_serves_without_a_hub(tmp_path: Path, setting: dict[str, str]) -> None:
    fill_hub_cache(tmp_path)
    printed = run_offline(
        tmp_path,
        "from gsm8k_env.problems import load_problems\n"
        "problems = load_problems('test')\n"
        "print(problems.dataset, problems[0].ground_truth, len(problems))",
        **setting,
    )
    assert printed.split() == ["openai/gsm8k", "1200", "2"]


def run_offline(cache: Path, code: str, **variables: str) -> str:
    """Runs code in a fresh interpreter whose hub cache is the given folder, and returns what it printed."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "GSM8K_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "HF_HOME": str(cache), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill_hub_cache(home: Path) -> None:
    """Leaves behind what `datasets` leaves in its cache after it downloaded openai/gsm8k, with two problems a split."""
    import datasets

    info = datasets.DatasetInfo(config_name="main", dataset_name="gsm8k", version="0.0.0")
    info.splits = datasets.SplitDict(dataset_name="gsm8k")
    folder = home / "datasets" / "openai___gsm8k" / "main" / "0.0.0" / ("0" * 40)
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        table = datasets.Dataset.from_list(ROWS)
        info.features = table.features
        info.splits.add(datasets.SplitInfo(name=split, num_examples=len(ROWS), dataset_name="gsm8k"))
        with datasets.arrow_writer.ArrowWriter(
            path=str(folder / f"gsm8k-{split}.arrow"), features=info.features
        ) as writer:
            writer.write_table(table.data.table)
            writer.finalize()
    info.write_to_directory(str(folder))
