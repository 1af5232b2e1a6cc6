"""Run by ``test_sweep_on_ray.py`` in its own process: a sweep and a shared evaluation on a local cluster.

``python on_ray.py STUDY FOLDER THREAT``: the sweep goes to FOLDER; the run of its first entry is then
evaluated by two workers, one of which is killed before its first chunk. Prints the sweep's rows as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from reinforced.attacks.threat import ThreatModel
from reinforced.studies.cluster import connected, nodes_of
from reinforced.studies.shards import Asked, Workers
from reinforced.studies.subjects import Source
from reinforced.studies.sweep.pools import RayPool
from reinforced.studies.sweep.shares import Node, Share
from reinforced.studies.sweep.study import entries_of, load_study
from reinforced.studies.sweep.sweep import Place, Sweep


def main(file: Path, folder: Path, threat: str) -> None:
    study = load_study(file)
    entries = entries_of(study, file.parent, folder)
    with connected("local", 2) as ray:
        assert nodes_of(ray, "cpu") == [Node(2, 0)]
        place = Place(folder, "cpu", None, "")
        rows = Sweep(study, entries, place, lambda states: None).run(RayPool(ray, Share(2, 1, 0)))
        run = str(entries[0].run)
        asked = Asked(
            (run,), (), None, Source(images=200), ("fgsm",), 0, False, None, folder, "cpu", Path.cwd()
        )
        workers = Workers(ray, asked, Share(2, 1, 0))
        os.kill(workers.processes[0], signal.SIGKILL)
        workers.work(run, ThreatModel.parse(threat), 200, lambda attack, chunk, broken: None)
    print(json.dumps(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
