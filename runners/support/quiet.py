"""Libraries that would write between the lines of a command's own output."""

from __future__ import annotations

import os


def quiet_libraries() -> None:
    """Keeps the progress bars of the libraries off the display; imports transformers."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import transformers

    transformers.utils.logging.disable_progress_bar()
