"""What validation accepts and refuses, by the component itself: `python demand_cases.py URL`. Prints JSON: case, what it said."""

import json
import os
import sys
import tempfile
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy
import pandas

URL = sys.argv[1]
os.environ["MLFLOW_TRACKING_URI"] = URL
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples/demand"))
from pipeline import features, validate  # noqa: E402

ROUTES = [("EWR", "ATL"), ("JFK", "LAX"), ("LGA", "ORD")]


def month(name="2020-01", **changed):
    """A month in which nothing is wrong: three routes, a weekly timetable and some noise that nobody can foresee."""
    chance = numpy.random.default_rng(7)
    period = pandas.Period(name, "M")
    days = pandas.date_range(period.start_time, period.end_time.normalize())
    rows = [
        (day.strftime("%Y-%m-%d"), origin, dest, 10 + 3 * (day.dayofweek < 5) + int(chance.integers(0, 6)))
        for day in days
        for origin, dest in ROUTES
    ]
    return pandas.DataFrame(rows, columns=["date", "origin", "dest", "departures"]).assign(**changed)


def put(path, table):
    body = table if isinstance(table, bytes) else table.to_csv(index=False).encode()
    urllib.request.urlopen(urllib.request.Request(f"{URL}/api/data/{path}", body, method="PUT")).read()


def shifted(days):
    return month().groupby(["origin", "dest"]).departures.shift(days).ffill().bfill()


def with_cell(column, value):
    table = month().astype(object)
    table.loc[4, column] = value
    return table


clean = month()
cases = {
    "clean": ("2020-01.csv", clean),
    "known in advance": ("2020-01.csv", clean.assign(weekend=pandas.to_datetime(clean.date).dt.dayofweek // 5)),
    "yesterday's": ("2020-01.csv", clean.assign(yesterday=shifted(1))),
    "no such column": ("2020-01.csv", clean.drop(columns="dest")),
    "negative": ("2020-01.csv", with_cell("departures", -3)),
    "fraction": ("2020-01.csv", with_cell("departures", 2.5)),
    "text": ("2020-01.csv", with_cell("departures", "many")),
    "nothing": ("2020-01.csv", with_cell("departures", None)),
    "impossible": ("2020-01.csv", with_cell("departures", 20_000)),
    "no date": ("2020-01.csv", with_cell("date", "soon")),
    "repeated": ("2020-01.csv", pandas.concat([clean, clean.iloc[:2]])),
    "missing day": ("2020-01.csv", clean[clean.date != "2020-01-17"]),
    "beyond": ("2020-01.csv", pandas.concat([clean, month("2020-02").iloc[:3]])),
    "empty": ("2020-01.csv", clean.iloc[:0]),
    "no bytes": ("2020-01.csv", b""),
    "no text": ("2020-01.csv", b"\xff\xfe\x00\x89PNG"),
    "leak, the same day": ("2020-01.csv", clean.assign(seats=clean.departures * 150 + 7)),
    "leak, the next day": ("2020-01.csv", clean.assign(bookings=shifted(-1))),
    "name": ("january.csv", clean),
    "skips a month": ("2020-03.csv", month("2020-03")),
    "again": ("2020-01.csv", clean),
    "the next month": ("2020-02.csv", month("2020-02")),
    "a month of the past": ("2020-01.csv", clean),
}

said = {}
with tempfile.TemporaryDirectory() as folder:
    counts = SimpleNamespace(path=f"{folder}/counts.csv")
    # The first ones each have a history of their own, the last ones share that of "clean".
    shared = ("clean", "skips a month", "again", "the next month", "a month of the past")
    for number, (case, (name, table)) in enumerate(cases.items()):
        put(f"cases/{number}/{name}", table)
        accepted = "cases-shared" if case in shared else f"cases-accepted/{number}"
        try:
            validated = validate.python_func(path=f"cases/{number}/{name}", accepted=accepted, counts=counts)
            said[case] = f"accepted {validated.rows} rows until {validated.last_day}"
        except SystemExit as refusal:
            said[case] = str(refusal)

    # Features of a day must not change when that day, and all that follows, does.
    history = pandas.concat([month("2020-01"), month("2020-02"), month("2020-03")])
    tables = []
    for factor in (1, 5):
        known = history.copy()
        known.loc[known.date >= "2020-03-15", "departures"] *= factor
        known.to_csv(counts.path, index=False)
        made = SimpleNamespace(path=f"{folder}/table.csv")
        features.python_func(counts=counts, last_day="2020-03-14", table=made)
        tables.append(pandas.read_csv(made.path).query("date <= '2020-03-15'").drop(columns="departures"))
    rows = len(tables[0])
    said["features of a day"] = "know nothing of it" if rows and tables[0].equals(tables[1]) else "leak"
print(json.dumps(said))
