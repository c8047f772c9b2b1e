"""Demand for flights, one day ahead: validate, features, three models, evaluation against the champion, registration.

Everything here is kfp's and MLflow's own: components are plain functions with their imports inside, and the steps find
the server by MLFLOW_TRACKING_URI. A model forecasts the *change* against the same weekday of the week before, since
timetables repeat by the week; what it must beat is that week itself (the seasonal-naive forecast).
"""

from typing import NamedTuple

from kfp import dsl

step = dsl.component(base_image="python:3.11", install_kfp_package=False)

# Days at the end of the data that no candidate is trained on: the champion and the candidates meet there.
EVALUATION_DAYS = 28


@step
def validate(path: str, accepted: str, counts: dsl.Output[dsl.Dataset]) -> NamedTuple(
    "Validated", [("rows", int), ("last_day", str)]
):
    """Refuses a drop that is wrong; else keeps it below `accepted` and hands on all that was accepted so far.

    path      `<folder>/2013-07.csv` or `<folder>/2013-01--2013-06.csv`: the months that the drop says it holds.
    counts    date, origin, dest, departures, and what else all drops know in advance; one row a day and route.
    """
    import collections
    import io
    import json
    import os
    import re
    import urllib.request

    import pandas

    def ask(method, where, body=None):
        request = urllib.request.Request(os.environ["MLFLOW_TRACKING_URI"] + where, body, method=method)
        request.add_header("Content-Type", "text/csv")
        if os.environ.get("MLFLOW_TRACKING_TOKEN"):
            request.add_header("Authorization", f"Bearer {os.environ['MLFLOW_TRACKING_TOKEN']}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def refuse(reason):
        raise SystemExit(f"The drop {path} is refused: {reason}.")

    name = path.rsplit("/", 1)[-1]
    months = re.fullmatch(r"(\d{4}-\d{2})(?:--(\d{4}-\d{2}))?(?:\.[a-z0-9-]+)?\.csv", name)
    if not months:
        refuse("its name must be <month>.csv or <month>--<month>.csv")
    first = pandas.Period(months[1], "M").start_time
    last = pandas.Period(months[2] or months[1], "M").end_time.normalize()

    raw = ask("GET", f"/api/data/{path}")
    try:
        drop = pandas.read_csv(io.BytesIO(raw))
    except ValueError as error:  # pandas' own errors of parsing and decoding are ValueErrors
        refuse(f"it is no CSV ({str(error).strip()[:200]})")
    if drop.empty:
        refuse("it holds no rows")
    needed = ["date", "origin", "dest", "departures"]
    missing = [column for column in needed if column not in drop]
    if missing:
        refuse(f"it has no column {', '.join(missing)}")
    extras = [column for column in drop if column not in needed]
    for column in ["departures", *extras]:
        if not pandas.api.types.is_numeric_dtype(drop[column]) or drop[column].isna().any():
            refuse(f"column {column} must hold a number in every row")
    if not (drop.departures % 1 == 0).all():
        refuse("departures must be whole numbers")
    drop["date"] = pandas.to_datetime(drop.date, format="%Y-%m-%d", errors="coerce")
    if drop[["date", "origin", "dest"]].isna().any(axis=None):
        refuse("every row needs a date such as 2013-07-31, an origin and a dest")

    # All that is wrong is said at once.
    wrong = []
    negative = drop[drop.departures < 0]
    if len(negative):
        row = negative.iloc[0]
        wrong.append(f"{len(negative)} rows have negative departures, the first on {row.date.date()} "
                     f"({row.origin}-{row.dest}: {row.departures:g})")
    if drop.departures.max() > 1000:
        wrong.append(f"{drop.departures.max():g} departures of one route in one day cannot be")
    repeated = drop[drop.duplicated(["date", "origin", "dest"])]
    if len(repeated):
        wrong.append(f"{len(repeated)} rows repeat a day and route, the first on {repeated.date.iloc[0].date()}")
    beyond = drop[(drop.date < first) | (drop.date > last)]
    if len(beyond):
        wrong.append(f"{len(beyond)} rows lie beyond {first.date()} to {last.date()}, "
                     f"the first on {beyond.date.iloc[0].date()}")
    gaps = pandas.date_range(first, last).difference(drop.date)
    if len(gaps):
        wrong.append(f"{len(gaps)} days are missing, the first is {gaps[0].date()}")

    # A column leaks if its change within a week says how the departures change, on that day or the next.
    def wide(column):
        return drop.pivot_table(index="date", columns=["origin", "dest"], values=column)

    departures = wide("departures")
    for column in extras:
        known = wide(column).diff(7).stack([0, 1], future_stack=True)
        for days, when in ((0, "the same day"), (1, "the next day")):
            hidden = departures.shift(-days).diff(7).stack([0, 1], future_stack=True)
            both = pandas.concat([known, hidden], axis=1).dropna()
            if len(both) > 30 and both.std().min() > 0 and abs(both.corr().iloc[0, 1]) > 0.9:
                wrong.append(f"column {column} leaks: it gives away the departures of {when} "
                             f"(correlation {both.corr().iloc[0, 1]:.3f}), which nobody knows in advance")
                break
    if wrong:
        refuse("; ".join(wrong))

    listed = json.loads(ask("GET", f"/api/data?folder={accepted}&limit=100"))["data"]
    before = [pandas.read_csv(io.BytesIO(ask("GET", f"/api/data/{one['path']}")), parse_dates=["date"])
              for one in listed if one["path"] != f"{accepted}/{name}"]
    if before:
        end = max(one.date.max() for one in before)
        if first != end + pandas.Timedelta(days=1):
            refuse(f"it begins on {first.date()}, but the accepted data ends on {end.date()}")
    ask("PUT", f"/api/data/{accepted}/{name}", raw)
    together = pandas.concat([*before, drop], join="inner", ignore_index=True)
    together.sort_values(["date", "origin", "dest"]).to_csv(counts.path, index=False)
    return collections.namedtuple("Validated", "rows last_day")(len(drop), str(last.date()))


@step
def features(counts: dsl.Input[dsl.Dataset], last_day: str, table: dsl.Output[dsl.Dataset]) -> int:
    """One row a day and route with more than one departure a day until `last_day`; the number of routes.

    Every feature of a day is known the evening before. Columns: date, route, departures, then what a model sees, first
    `last_week`, the departures of the same weekday a week ago.
    """
    import numpy
    import pandas

    rows = pandas.read_csv(counts.path, parse_dates=["date"])
    rows["route"] = rows.origin + "-" + rows.dest
    days = pandas.date_range(rows.date.min(), rows.date.max())
    grid = rows.pivot_table(index="date", columns="route", values="departures", aggfunc="sum").reindex(days).fillna(0)
    busy = grid[grid.index <= last_day].mean()
    grid = grid[busy.index[busy > 1]]
    week = grid.shift(7)
    total, last_total = grid.sum(axis=1), grid.sum(axis=1).shift(7)
    made = {"last_week": week}
    for weeks in (1, 2, 3):
        made[f"before_{weeks}w"] = grid.shift(7 + 7 * weeks) - week
    changes = {f"change_{day}d": grid.shift(day) - grid.shift(day + 7) for day in range(1, 8)}
    made.update(changes, change=sum(changes.values()) / 7)
    level = grid.shift(1).rolling(28).mean()
    made.update(level=level, spread=grid.shift(1).rolling(28).std(), lately=grid.shift(1).rolling(7).mean() - level)

    def everywhere(series):
        return pandas.DataFrame(numpy.outer(series, numpy.ones(grid.shape[1])), grid.index, grid.columns)

    for weeks in (1, 2):
        made[f"all_before_{weeks}w"] = everywhere(total.shift(7 + 7 * weeks) / last_total - 1)
    for day in (1, 2):
        made[f"all_change_{day}d"] = everywhere(total.shift(day) / total.shift(day + 7) - 1)
    made["weekday"] = everywhere(days.dayofweek)
    for name in rows.columns.difference(["date", "origin", "dest", "route", "departures"]):
        known = rows.pivot_table(index="date", columns="route", values=name).reindex(days)
        known = known.T.fillna(known.mean(axis=1)).T.reindex(columns=grid.columns)
        made[name], made[f"{name}_last_week"] = known, known.shift(7)
    long = pandas.DataFrame({name: frame.to_numpy().ravel() for name, frame in made.items()})
    long.insert(0, "date", numpy.repeat(days, grid.shape[1]))
    long.insert(1, "route", numpy.tile(grid.columns, len(days)))
    long.insert(2, "departures", grid.to_numpy().ravel())
    long.dropna().to_csv(table.path, index=False, float_format="%.6g")
    return grid.shape[1]


@step
def train_ridge(table: dsl.Input[dsl.Dataset], last_day: str, evaluation_days: int, model: dsl.Output[dsl.Model]):
    import os

    os.environ["OMP_NUM_THREADS"] = "1"  # small data: threads would only wait for each other
    import joblib
    import mlflow
    import pandas
    from sklearn.linear_model import Ridge

    rows = pandas.read_csv(table.path, parse_dates=["date"])
    rows = rows[rows.date <= pandas.Timestamp(last_day) - pandas.Timedelta(days=evaluation_days)]
    mlflow.sklearn.autolog(log_models=False, log_datasets=False)
    with mlflow.start_run():
        fitted = Ridge().fit(rows.iloc[:, 3:], rows.departures - rows.last_week)
    joblib.dump(fitted, model.path)


@step
def train_boosting(table: dsl.Input[dsl.Dataset], last_day: str, evaluation_days: int, model: dsl.Output[dsl.Model]):
    import os

    os.environ["OMP_NUM_THREADS"] = "1"
    import joblib
    import mlflow
    import pandas
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows = pandas.read_csv(table.path, parse_dates=["date"])
    rows = rows[rows.date <= pandas.Timestamp(last_day) - pandas.Timedelta(days=evaluation_days)]
    mlflow.sklearn.autolog(log_models=False, log_datasets=False)
    with mlflow.start_run():
        fitted = HistGradientBoostingRegressor(
            max_iter=80, learning_rate=0.08, min_samples_leaf=30, random_state=1
        ).fit(rows.iloc[:, 3:], rows.departures - rows.last_week)
    joblib.dump(fitted, model.path)


@step
def train_trees(table: dsl.Input[dsl.Dataset], last_day: str, evaluation_days: int, model: dsl.Output[dsl.Model]):
    import os

    os.environ["OMP_NUM_THREADS"] = "1"
    import joblib
    import mlflow
    import pandas
    from sklearn.ensemble import ExtraTreesRegressor

    rows = pandas.read_csv(table.path, parse_dates=["date"])
    rows = rows[rows.date <= pandas.Timestamp(last_day) - pandas.Timedelta(days=evaluation_days)]
    mlflow.sklearn.autolog(log_models=False, log_datasets=False)
    with mlflow.start_run():
        fitted = ExtraTreesRegressor(n_estimators=60, min_samples_leaf=10, n_jobs=2, random_state=1).fit(
            rows.iloc[:, 3:], rows.departures - rows.last_week
        )
    joblib.dump(fitted, model.path, compress=1)


@step
def evaluate(
    table: dsl.Input[dsl.Dataset],
    last_day: str,
    evaluation_days: int,
    model_name: str,
    ridge: dsl.Input[dsl.Model],
    boosting: dsl.Input[dsl.Model],
    trees: dsl.Input[dsl.Model],
    best: dsl.Output[dsl.Model],
    errors: dsl.Output[dsl.Metrics],
) -> NamedTuple("Evaluated", [("kind", str), ("wape", float), ("champion_wape", float), ("naive_wape", float)]):
    """The best candidate, and its error beside the champion's and the naive one's, on days that no model was trained on.

    The error is the WAPE: the sum of all absolute errors as a share of all departures. No champion yet: -1.
    """
    import collections
    import os
    import shutil

    os.environ["OMP_NUM_THREADS"] = "1"
    import joblib
    import mlflow
    import pandas
    from mlflow.exceptions import MlflowException

    rows = pandas.read_csv(table.path, parse_dates=["date"])
    rows = rows[rows.date > pandas.Timestamp(last_day) - pandas.Timedelta(days=evaluation_days)]
    inputs = rows.iloc[:, 3:].astype(float)

    def wape(forecast):
        return float((rows.departures - forecast).abs().sum() / rows.departures.sum())

    found = {}
    candidates = {"ridge": ridge, "boosting": boosting, "trees": trees}
    for kind, candidate in candidates.items():
        change = joblib.load(candidate.path).predict(inputs)
        found[kind] = wape((rows.last_week + change).clip(lower=0).round())
    kind = min(found, key=found.get)
    naive, champion = wape(rows.last_week), -1.0
    try:
        held = mlflow.MlflowClient().get_model_version_by_alias(model_name, "champion")
    except MlflowException as error:
        # A name without a model, and a model without the alias.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        print("there is no champion yet")
    else:
        champion = wape(mlflow.pyfunc.load_model(f"models:/{model_name}/{held.version}").predict(inputs))
        print(f"version {held.version} is the champion: WAPE {champion:.4f}")
    shown = {**found, "naive": naive, **({} if champion < 0 else {"champion": champion})}
    with mlflow.start_run():
        mlflow.log_metrics({f"wape_{name}": value for name, value in shown.items()})
    for name, value in shown.items():
        errors.log_metric(f"wape_{name}", value)
        print(f"{name}: WAPE {value:.4f} on {rows.date.nunique()} days until {last_day}")
    shutil.copyfile(candidates[kind].path, best.path)
    return collections.namedtuple("Evaluated", "kind wape champion_wape naive_wape")(
        kind, found[kind], champion, naive
    )


@step
def register(
    table: dsl.Input[dsl.Dataset],
    best: dsl.Input[dsl.Model],
    kind: str,
    wape: float,
    naive_wape: float,
    last_day: str,
    evaluation_days: int,
    model_name: str,
) -> int:
    """Registers the best candidate as a model whose answer is the forecast itself; the new version."""
    import mlflow
    import pandas
    import sklearn

    class Forecaster(mlflow.pyfunc.PythonModel):
        """Whole departures: last week's, and the change that the regressor foresees."""

        def load_context(self, context):
            import joblib

            self.regressor = joblib.load(context.artifacts["regressor"])
            # A request is small: threads would cost more than they save.
            if hasattr(self.regressor, "n_jobs"):
                self.regressor.n_jobs = 1

        def predict(self, context, model_input, params=None):
            change = self.regressor.predict(model_input[list(self.regressor.feature_names_in_)])
            return (model_input["last_week"] + change).clip(lower=0).round().to_numpy()

    rows = pandas.read_csv(table.path, nrows=200)
    example = rows.iloc[:3, 3:].astype(float)
    cut = (pandas.Timestamp(last_day) - pandas.Timedelta(days=evaluation_days)).date()
    with mlflow.start_run():
        made = mlflow.pyfunc.log_model(
            name="forecast",
            python_model=Forecaster(),
            artifacts={"regressor": best.path},
            signature=mlflow.models.infer_signature(example, example["last_week"].to_numpy()),
            input_example=example,
            pip_requirements=[f"scikit-learn=={sklearn.__version__}", f"pandas=={pandas.__version__}"],
            registered_model_name=model_name,
        )
        mlflow.log_metrics({"wape": wape, "naive_wape": naive_wape})
    version = made.registered_model_version
    client = mlflow.MlflowClient()
    about = {"kind": kind, "trained_until": str(cut), "wape": f"{wape:.4f}", "naive_wape": f"{naive_wape:.4f}"}
    for key, value in about.items():
        client.set_model_version_tag(model_name, version, key, value)
    return int(version)


@dsl.pipeline(name="demand", description="Departures of tomorrow for each busy route out of New York")
def demand(path: str, accepted: str = "accepted", model_name: str = "demand", evaluation_days: int = EVALUATION_DAYS):
    # What validation reads (the drop, and all accepted before) are no inputs that a cache could compare.
    valid = validate(path=path, accepted=accepted).set_caching_options(False)
    last_day = valid.outputs["last_day"]
    made = features(counts=valid.outputs["counts"], last_day=last_day)
    table = made.outputs["table"]
    models = {}
    for kind, train in (("ridge", train_ridge), ("boosting", train_boosting), ("trees", train_trees)):
        models[kind] = train(table=table, last_day=last_day, evaluation_days=evaluation_days).outputs["model"]
    # Nor is the champion, which is read by its alias.
    seen = evaluate(
        table=table, last_day=last_day, evaluation_days=evaluation_days, model_name=model_name, **models
    ).set_caching_options(False)
    register(
        table=table,
        best=seen.outputs["best"],
        kind=seen.outputs["kind"],
        wape=seen.outputs["wape"],
        naive_wape=seen.outputs["naive_wape"],
        last_day=last_day,
        evaluation_days=evaluation_days,
        model_name=model_name,
    ).set_caching_options(False)
