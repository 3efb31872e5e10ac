"""How long a user waits before a verb answers: `python benchmarks/startup.py [--json PATH]`.

Each command runs five times as a process of its own; the table shows the fastest and the median.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "cytoloop --help": (["--help"], 0.3),
    **{f"cytoloop {v} --help": ([v, "--help"], 1.5) for v in ("curate", "train", "predict")},
    "cytoloop train --cfg job": (["train", "--cfg", "job", "data.path=x"], 1.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for name, (words, target) in COMMANDS.items():
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            command = [sys.executable, "-m", "cytoloop", *words]
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
        rows.append(
            {
                "command": name,
                "fastest_s": round(min(seconds), 3),
                "median_s": round(statistics.median(seconds), 3),
                "target_s": target,
            }
        )
    print(f"{'command':<28} {'fastest':>8} {'median':>8} {'target':>8}")
    for row in rows:
        print(
            f"{row['command']:<28} {row['fastest_s']:>7.2f}s {row['median_s']:>7.2f}s "
            f"{row['target_s']:>7.1f}s"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
