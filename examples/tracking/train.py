"""Manual tracking, as everybody has seen it: only the address is ours.

    python train.py [http://localhost:5000]
"""

import sys

import mlflow
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split


def load_data():
    return load_wine(return_X_y=True)


mlflow.set_tracking_uri(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:5000")
mlflow.set_experiment("my_experiment")
with mlflow.start_run():
    X, y = load_data()
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2)
    model = RandomForestClassifier()
    model.fit(X_train, y_train)
    mlflow.log_param("n_estimators", model.n_estimators)
    mlflow.log_param("max_depth", model.max_depth)
    y_pred = model.predict(X_test)
    accuracy = accuracy_score(y_test, y_pred)
    mlflow.log_metric("accuracy", accuracy)
    mlflow.sklearn.log_model(model, "random_forest_model")
    current_run = mlflow.active_run()
    print(f"MLflow Run ID: {current_run.info.run_id}")
