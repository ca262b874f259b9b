"""Trains on one GPU of Modal, data and runs on a volume: `modal run launch/modal_app.py`.

Not run yet: no account was at hand. The job is the one of `python runners/grpo.py --preset qwen2.5-0.5b`.
"""

import subprocess
from pathlib import Path

import modal

ROOT = Path(__file__).resolve().parent.parent
VOLUME = "/volume"

image = (
    modal.Image.debian_slim(python_version="3.11")
    .add_local_dir(ROOT, "/project", copy=True, ignore=[".git", ".venv*", "runs"])
    .run_commands("pip install -e '/project[train,vllm]'")
    .env({"HF_HOME": f"{VOLUME}/huggingface"})
)
volume = modal.Volume.from_name("gsm8k-env", create_if_missing=True)
app = modal.App("gsm8k-env", image=image)


@app.function(gpu="L40S", volumes={VOLUME: volume}, timeout=12 * 60 * 60)
def train(arguments: str = "") -> None:
    """Runs runners/grpo.py; `--arguments "--seed 1"` adds to its command line."""
    command = ["python", "runners/grpo.py", "--preset", "qwen2.5-0.5b", "--engine", "vllm"]
    subprocess.run([*command, "--runs-dir", f"{VOLUME}/runs", *arguments.split()], cwd="/project", check=True)
    volume.commit()


@app.local_entrypoint()
def main(arguments: str = "") -> None:
    """What `modal run` calls."""
    train.remote(arguments)
