"""Asks the endpoint for every day of a month, each as of the evening before, and scores what it answered.

    python predict.py URL FOLDER_OF_DROPS MONTH --until LAST_ACCEPTED_DAY --endpoint NAME --version N

The features come from the pipeline's own component. What is drawn of it goes to /api/data/forecast/<month>.json.
"""

import argparse
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pandas

import pipeline
from server import ask

BUSIEST = 5

options = argparse.ArgumentParser()
options.add_argument("url")
options.add_argument("drops")
options.add_argument("month")
options.add_argument("--until", required=True, help="last day of the accepted data")
options.add_argument("--endpoint", required=True)
options.add_argument("--version", type=int, required=True, help="the champion that is asked")
asked = options.parse_args()


def table():
    """The features of that month's days, day by day."""
    files = [path for path in sorted(Path(asked.drops).glob("*.csv")) if path.stem.count(".") == 0]
    known = pandas.concat([pandas.read_csv(path) for path in files])
    with tempfile.TemporaryDirectory() as folder:
        counts, made = (SimpleNamespace(path=f"{folder}/{name}.csv") for name in ("counts", "table"))
        known[known.date <= f"{asked.month}-31"].to_csv(counts.path, index=False)
        pipeline.features.python_func(counts=counts, last_day=asked.until, table=made)
        rows = pandas.read_csv(made.path)
    return rows[rows.date.str.startswith(asked.month)].reset_index(drop=True)


rows = table()
forecast = []
for day, own in rows.groupby("date"):
    inputs = own.iloc[:, 3:].astype(float)
    body = {"dataframe_split": inputs.to_dict(orient="split")}
    forecast += ask(asked.url, "POST", f"/endpoints/{asked.endpoint}/invocations", body)["predictions"]
rows["forecast"] = forecast


def wape(column):
    return round(float((rows.departures - rows[column]).abs().sum() / rows.departures.sum()), 5)


def drawn(name, own):
    by_day = own.groupby("date")[["departures", "forecast", "last_week"]].sum()
    return {
        "name": name,
        "actual": by_day.departures.tolist(),
        "forecast": by_day.forecast.tolist(),
        "naive": by_day.last_week.tolist(),
    }


busiest = rows.groupby("route").departures.sum().nlargest(BUSIEST).index
shown = {
    "drop": asked.month,
    "days": sorted(rows.date.unique()),
    "series": [drawn("all routes", rows), *(drawn(route, rows[rows.route == route]) for route in busiest)],
    "wape": {"model": wape("forecast"), "naive": wape("last_week")},
    "version": asked.version,
}
ask(asked.url, "PUT", f"/api/data/forecast/{asked.month}.json", shown)
print(json.dumps({"month": asked.month, "predictions": len(forecast), "routes": rows.route.nunique(), **shown["wape"]}))
