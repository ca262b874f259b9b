"""What is left of a memory, and what the first update takes."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from runners.objectives.objective import ObjectiveConfig
from runners.preflight.memory import LearnerMemory, faults_of_memory, main_memory, memory_of
from runners.settings import UpdateSettings
from runners.updating.scorer import Scorer
from runners.updating.updater import Updater

GIB = 2**30


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_main_memory_is_the_machines(tmp_path):
    write(tmp_path, {"proc/meminfo": "MemTotal: 999 kB\nMemAvailable:    2048 kB\n"})
    assert main_memory(tmp_path) == 2048 * 1024
    write(tmp_path, {"sys/fs/cgroup/memory.max": "max\n"})
    assert main_memory(tmp_path) == 2048 * 1024


def test_a_containers_limit_counts_and_its_cache_of_files_does_not(tmp_path):
    write(
        tmp_path,
        {
            "proc/meminfo": "MemAvailable: 2048 kB\n",
            "sys/fs/cgroup/memory.max": "1000000\n",
            "sys/fs/cgroup/memory.current": "900000\n",
            "sys/fs/cgroup/memory.stat": "anon 5\ninactive_file 300000\nactive_file 7\n",
        },
    )
    assert main_memory(tmp_path) == 400_000


def test_another_system_says_nothing(tmp_path):
    assert main_memory(tmp_path) > 2**60


def test_learners_of_one_place_share_it():
    one = LearnerMemory(place="main memory of a", needed=GIB, free=int(1.5 * GIB))
    other = LearnerMemory(place="main memory of b", needed=GIB, free=int(1.5 * GIB))
    assert list(faults_of_memory([one, other])) == []
    (sentence,) = faults_of_memory([one, one, other])
    assert sentence.startswith("memory: gradients and Adam's moments of 2 learners take 2.0 GiB, but main memory of a")


def test_the_first_step_takes_what_is_said():
    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, max_position_embeddings=16, tie_word_embeddings=False, dtype="float32",
    )  # fmt: skip
    scorer = Scorer(LlamaForCausalLM(config), temperature=1.0, max_logits=1024, share_prompts=False)
    trained = list(scorer.model.lm_head.parameters())
    updater = Updater(scorer, [torch.optim.AdamW(trained)], UpdateSettings(), ObjectiveConfig())
    memory = memory_of(updater)
    assert memory.needed == 3 * 16 * 8 * 4  # gradient and two moments of [16, 8] float32
    assert memory.place.startswith("main memory of ") and memory.free > 0
