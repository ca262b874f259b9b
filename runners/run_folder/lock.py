"""One process a run folder: a lock that the system lifts when the process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

_NAME = "lock"
# What a file system says that has no locks; the folder is then the user's to keep apart.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


def locked(folder: Path) -> IO[str]:
    """Returns the locked file; closing it lifts the lock.

    Raises:
        BlockingIOError: If another process holds it.
    """
    file = (folder / _NAME).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise BlockingIOError(
            f"{folder} is in use by {holder}: wait for it or stop it, or choose another --name."
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    file.truncate(0)
    file.write(f"process {os.getpid()} of {os.uname().nodename}")
    file.flush()
    return file
