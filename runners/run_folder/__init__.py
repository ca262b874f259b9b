"""What a run leaves behind: runs/<name>/ with its metrics, samples, checkpoints, policy and picture."""
