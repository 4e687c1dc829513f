"""How much memory a process has taken at most."""

import re
import sys
from pathlib import Path


def peak_rss_bytes() -> int | None:
    """The largest resident memory of this process so far, ``None`` where no system tells.

    On Linux from /proc: ``getrusage`` there begins with the peak of the process that started
    this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        return 1024 * int(found[1]) if found else None
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
