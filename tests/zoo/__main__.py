"""Write the zoo into a folder, or run `pipeline` over it and hold what is found against the table."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import soundfile as sf

from stages.ffmpeg import find_ffmpeg
from tests.sandbox import Sandbox
from tests.zoo.animals import animals, write
from tests.zoo.table import Verdict, expected
from tests.zoo.visit import FEATURES, Finding, findings


def main() -> int:
    """Return 0, or 1 where something was found that the table does not say."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("folder", nargs="?", type=Path, help="where to write the zoo")
    what.add_argument("--run", action="store_true", help="input, expected, found of every animal")
    given = parser.parse_args()
    if given.run:
        return _run()
    zoo = animals()
    write(given.folder, zoo)
    print(f"{len(zoo)} files in {given.folder}", file=sys.stderr)
    return 0


def _run() -> int:
    with tempfile.TemporaryDirectory() as folder:
        box = Sandbox(Path(folder), registry=None)
        zoo = animals()
        write(box.dataset, zoo)
        started, cpu_s = time.monotonic(), _cpu_s()
        done = box.run("--stages", ",".join(FEATURES))
        wall_s, cpu_s = time.monotonic() - started, _cpu_s() - cpu_s
        found = findings(box, zoo)
    print(f"pipeline run ZOO --stages {','.join(FEATURES)}: exit code {done.returncode}, "
          f"{wall_s:.1f} s, {cpu_s:.1f} s of CPU")  # fmt: skip
    ffmpeg = find_ffmpeg()
    print(
        f"libsndfile {sf.__libsndfile_version__}, ffmpeg {ffmpeg.version if ffmpeg else 'none'}\n"
    )
    return _print(found, expected())


def _print(found: Mapping[str, Finding], table: Mapping[str, Verdict]) -> int:
    width = max(map(len, found))
    print(f"{'input':{width}}  {'expected':24}  {'found':24}  what it says")
    for title, finding in found.items():
        wanted = table.get(title)
        mark = "" if wanted == finding.verdict else "  <-- differs"
        print(f"{title:{width}}  {wanted!s:24}  {finding.verdict!s:24}  {finding.detail}{mark}")
    as_expected = sum(table.get(title) == finding.verdict for title, finding in found.items())
    print(f"\n{len(found)} inputs, {as_expected} found as expected")
    return 0 if as_expected == len(found) == len(table) else 1


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    raise SystemExit(main())
