"""The doctor: a healthy installation, and broken ones, each broken where the doctor looks."""

import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from gsm8k_cli.doctor import command_line, data, machine
from gsm8k_cli.doctor.probe import Probe, probe
from gsm8k_cli.doctor.requirements import python_versions, requirements_of

ROOT = Path(__file__).resolve().parents[2]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def healthy(monkeypatch):
    """What this machine may lack, and what takes seconds: imports that go well, a hub, room in /dev/shm."""
    monkeypatch.setattr(command_line, "probe", lambda modules: Probe(errors=dict.fromkeys(modules)))
    monkeypatch.setattr(data, "hub_reachable", lambda endpoint, seconds: True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(8 * 2**30, 0, 8 * 2**30))
    monkeypatch.setenv("GSM8K_DATASET", "builtin:1")


def doctor(capsys):
    """Its exit code, its lines by name, and the last one."""
    code = command_line.main([])
    *lines, last = capsys.readouterr().out.splitlines()
    return code, {line[7:22].strip(): line for line in lines}, last


def test_a_healthy_installation(capsys):
    code, lines, last = doctor(capsys)
    assert code == 0 and last == "Everything that training needs is here."
    assert not [line for line in lines.values() if line.startswith("wrong")]
    assert lines.keys() >= {"python", "gsm8k-env", "agents", "environment", "torch", "ray", "vllm", "sglang", "GPUs"}
    assert lines.keys() >= {"shared memory", "ports", "hub", "data"}
    assert lines["torch"].endswith(importlib.metadata.version("torch"))
    assert lines["data"] == "ok     data           GSM8K_DATASET=builtin:1: 7,473 train, 1,319 test problems"


def test_an_option_that_is_none_is_one_line(capsys):
    with pytest.raises(SystemExit):
        command_line.main(["--x"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: unrecognized arguments: --x")


def install(folder, name, version, code=None):
    """Puts a package's metadata, and perhaps its code, where an installation has them."""
    (folder / f"{name}-{version}.dist-info").mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (folder / f"{name}-{version}.dist-info" / "METADATA").write_text(text)
    if code is not None:
        (folder / f"{name}.py").write_text(code)


def test_a_wrong_version_of_torch(capsys, tmp_path, monkeypatch):
    install(tmp_path, "torch", "2.5.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, lines, last = doctor(capsys)
    assert code == 1 and last == "Training will not work: 1 wrong."
    assert lines["torch"].startswith("wrong  torch          2.5.0, but training needs ")
    assert lines["torch"].endswith("Mend: pip install 'torch<2.14,>=2.9'")


def test_packages_that_are_not_installed(capsys, monkeypatch):
    version = importlib.metadata.version

    def without_two(name):
        if name in ("torch", "ray"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_two)
    code, lines, _ = doctor(capsys)
    assert code == 1 and "torch" not in lines
    assert "training needs ray, torch: not installed. Mend: pip install 'gsm8k-env[train]'" in lines["training"]


def test_a_package_that_cannot_be_imported(capsys, tmp_path, monkeypatch):
    install(tmp_path, "torch", "2.13.0", "raise OSError('libcudart.so.12: cannot open shared object file')")
    install(tmp_path, "ray", "2.60.0", "import os; os._exit(139)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(command_line, "probe", lambda modules: probe(["torch", "ray"]))
    code, lines, last = doctor(capsys)
    assert code == 1 and last == "Training will not work: 2 wrong."
    assert "2.13.0 cannot be imported: OSError: libcudart.so.12: cannot open shared" in lines["torch"]
    assert "2.60.0 cannot be imported: the process ended with 139" in lines["ray"]


def test_what_fails_with_torch_is_not_installed_anew(capsys, monkeypatch):
    error = "OSError: libcudart.so.12: cannot open shared object file"
    errors = {"torch": error, "transformers": error, "ray": "OSError: another"}
    monkeypatch.setattr(command_line, "probe", lambda modules: Probe(errors=errors))
    _, lines, _ = doctor(capsys)
    assert "Mend: pip install --force-reinstall 'torch" in lines["torch"]
    assert lines["transformers"].endswith("Mend: as torch's")
    assert "Mend: pip install --force-reinstall 'ray" in lines["ray"]


def test_an_import_that_does_not_end(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert probe(["torch", "ray"], timeout_s=1).errors == {"torch": "it took more than 1 s"}


def test_torchvision_for_cuda_beside_a_torch_for_cpus(capsys, tmp_path, monkeypatch):
    install(tmp_path, "torch", "2.13.0+cpu")
    install(tmp_path, "torchvision", "0.28.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    errors = {"transformers": "ModuleNotFoundError: Could not import module"}
    monkeypatch.setattr(command_line, "probe", lambda modules: Probe(errors=errors))
    _, lines, _ = doctor(capsys)
    assert lines["transformers"].startswith("wrong") and "Mend: pip uninstall torchvision" in lines["transformers"]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("train.jsonl", "{broken", "row 1: not JSON"),
        ("train.jsonl", '{"question": "1 + 1?"}\n', "row 1"),
        ("other.txt", "", "has no file for the 'train' split"),
        (None, "", "There is no file or folder"),
    ],
)
def test_data_that_cannot_be_read(capsys, tmp_path, monkeypatch, name, content, message):
    folder = tmp_path / "data"
    if name:
        folder.mkdir()
        (folder / name).write_text(content)
    monkeypatch.setenv("GSM8K_DATASET", str(folder))
    code, lines, _ = doctor(capsys)
    assert code == 1 and lines["data"].startswith("wrong")
    assert message in lines["data"] and str(folder) in lines["data"] and "or unset GSM8K_DATASET" in lines["data"]


def test_no_data_set_is_a_note(capsys, monkeypatch):
    monkeypatch.delenv("GSM8K_DATASET")
    code, lines, _ = doctor(capsys)
    assert code == 0 and lines["data"].startswith("note") and "GSM8K_DATASET is not set" in lines["data"]


@pytest.mark.parametrize("free, state, code", [(2**26, "wrong", 1), (2**30, "note", 0), (2**32, "ok", 0)])
def test_the_size_of_shared_memory(capsys, monkeypatch, free, state, code):
    monkeypatch.setattr(machine, "_SHARED_MEMORY", Path("/"))  # any folder that is there
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free, 0, free))
    found, lines, _ = doctor(capsys)
    assert (found, lines["shared memory"][:5].strip()) == (code, state)
    assert ("--shm-size" in lines["shared memory"]) == (state != "ok")


def test_a_machine_without_connections_of_its_own(capsys, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    code, lines, _ = doctor(capsys)
    assert code == 1 and lines["ports"].startswith("wrong") and "127.0.0.1: [Errno 13]" in lines["ports"]


def test_a_port_that_is_taken_is_a_note(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(machine, "_NODES_PORT", server.getsockname()[1])
        (finding,) = machine.ports()
    assert finding.state == "note" and "NODES_PORT" in finding.mend
    (finding,) = machine.ports()
    assert finding.state == "ok"


def test_a_hub_that_does_not_answer_is_a_note(capsys, monkeypatch):
    monkeypatch.setattr(data, "hub_reachable", lambda endpoint, seconds: False)
    code, lines, _ = doctor(capsys)
    assert code == 0 and lines["hub"].startswith("note") and "does not answer within 3 s" in lines["hub"]


def test_gpus_that_torch_does_not_see(monkeypatch, tmp_path):
    (seen,) = machine.gpus([("NVIDIA H200", 141 * 2**30)])
    assert (seen.state, seen.found) == ("ok", "NVIDIA H200 (141 GiB)")
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho NVIDIA A100\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (unseen,) = machine.gpus([])
    assert unseen.state == "note" and "the driver has NVIDIA A100, but torch" in unseen.found


def test_another_package_of_the_name_agents(tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("class Runner: ...\n")
    code = (
        "import sys; from gsm8k_cli.doctor import command_line, probe; "
        "command_line.probe = lambda modules: probe.Probe(); sys.exit(command_line.main())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    (line,) = [line for line in done.stdout.splitlines() if line[7:13] == "agents"]
    assert done.returncode == 1 and line.startswith("wrong"), done.stderr
    assert str(tmp_path / "agents" / "__init__.py") in line and "openai-agents" in line


def test_openai_agents_beside_this_package_is_a_note(capsys, tmp_path, monkeypatch):
    install(tmp_path, "openai_agents", "0.4.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, lines, _ = doctor(capsys)
    assert code == 0 and lines["agents"].startswith("note") and "pip uninstall openai-agents" in lines["agents"]


def test_versions_are_those_of_the_metadata():
    assert "3.10.1" not in python_versions() and "3.12.3" in python_versions()
    assert requirements_of("vllm") == {"vllm": SpecifierSet("==0.32.*")}
    assert requirements_of("train")["numpy"] == SpecifierSet(">=2.1")
    assert "gymnasium" not in requirements_of("train")


@pytest.mark.slow
def test_the_script_on_this_machine(tmp_path):
    (tmp_path / "agents").mkdir()  # a folder where it is started hides nothing
    done = subprocess.run(
        [sys.executable, ROOT / "runners" / "doctor.py"], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout
    assert f"\nok     torch          {importlib.metadata.version('torch')}\n" in done.stdout
