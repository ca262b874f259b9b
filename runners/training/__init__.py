"""What `runners/grpo.py` and `runners/sft.py` have in common: a run from its command line to its folder."""
