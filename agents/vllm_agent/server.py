"""vLLM behind a URL."""
from __future__ import annotations
class Server:  # draft
    pass
