"""Puts finished runs with one param, two tags and two metrics into MLflow's sqlite: over REST it takes 25 to 50 a second.

    python fill.py STORE EXPERIMENT COUNT
"""

import random
import sqlite3
import sys
import uuid

store, experiment, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
START = 1_700_000_000_000
numbers = random.Random(7)
db = sqlite3.connect(store, timeout=60)
(root,) = db.execute(
    "SELECT artifact_location FROM experiments WHERE experiment_id = ?", (experiment,)
).fetchone()

runs, params, tags, metrics = [], [], [], []
for number in range(count):
    run, at = uuid.UUID(int=numbers.getrandbits(128)).hex, START + number
    name = f"run-{number}"
    runs.append((run, name, experiment, at, at + 1000, f"{root}/{run}/artifacts"))
    params.append((run, "lr", str(number % 10)))
    tags += [(run, "mlflow.runName", name), (run, "team", f"t{number % 5}")]
    for key in ("m0", "m1"):
        metrics.append((run, key, numbers.random(), at, 1))

with db:
    db.executemany(
        "INSERT INTO runs (run_uuid, name, experiment_id, start_time, end_time, artifact_uri, status,"
        " lifecycle_stage, source_type, source_name, entry_point_name, user_id, source_version)"
        " VALUES (?, ?, ?, ?, ?, ?, 'FINISHED', 'active', 'UNKNOWN', '', '', 'bench', '')",
        runs,
    )
    db.executemany("INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?)", params)
    db.executemany("INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)", tags)
    for table in ("metrics", "latest_metrics"):
        db.executemany(
            f"INSERT INTO {table} (run_uuid, key, value, timestamp, step, is_nan)"
            " VALUES (?, ?, ?, ?, ?, 0)",
            metrics,
        )
