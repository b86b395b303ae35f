"""Give every malformed input to ``adlrns-map`` in this process.

Run as a module it prints, as JSON, how each ended and how much memory all of them took.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from support.malformed import Case
from support.malformed_folders import checkpoints
from support.malformed_nir import graphs, net_files, nir_files
from support.malformed_others import archives, programs, targets

from mapping.cli import run

MOST_ADDRESSES = 8 * 2**30
"""Virtual memory that the batch may ask for, so that no case can take the machine down [bytes]."""
LONGEST_S = 20
"""What a case may take; SIGALRM then ends the batch [s]."""


@dataclass(frozen=True)
class Ending:
    """How a case ended.

    Attributes:
        name: of the case.
        code: exit code.
        message: stderr.
        left: files in the folder that the case did not make.
        harmless: of the case.
    """

    name: str
    code: int
    message: str
    left: list[str]
    harmless: bool


def cases() -> Iterator[Case]:
    """All of them, in the same order every time."""
    return chain(
        nir_files(), graphs(), net_files(), checkpoints(), archives(), targets(), programs()
    )


def endings(selected: list[Case]) -> Iterator[Ending]:
    """Give each case to the command line, in a folder of its own."""
    home = Path.cwd()
    for case in selected:
        folder = Path(tempfile.mkdtemp(prefix="malformed-"))
        try:
            case.make(folder)
            os.chdir(folder)
            before = set(folder.rglob("*"))
            said, shown = io.StringIO(), io.StringIO()
            signal.alarm(LONGEST_S)
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
                code = run(list(case.command))
            signal.alarm(0)
            after = set(folder.rglob("*")) - before
            left = sorted(str(path.relative_to(folder)) for path in after) if code else []
            yield Ending(case.name, code, said.getvalue(), left, case.harmless)
        finally:
            os.chdir(home)
            shutil.rmtree(folder)


def main() -> None:
    """Run each n-th case, n the first argument, of those whose names hold the second."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    every, wanted = int(sys.argv[1]), "".join(sys.argv[2:])
    found = list(endings([case for case in cases() if wanted in case.name][::every]))
    json.dump({"peak_bytes": _peak_bytes(), "endings": [asdict(e) for e in found]}, sys.stdout)


def _peak_bytes() -> int:
    """Most memory that this program has had; ``getrusage`` counts that of its parent, too."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]


if __name__ == "__main__":
    main()
