"""The recommender as an MLflow model: this file is the model's code, loaded where the model is served.

Imports neither Ray nor anything of training. Input, one row for each user:

    user_id     text, a user of the run; or
    history     list of item ids, for somebody else
    leave_out   list of item ids not to be shown; may be missing

and the parameter `k`. Output, in the same order: `items`, `titles` and `scores`, lists of up to k, best first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from bifair_dist.errors import UserError
from bifair_dist.serving.model_folder import read_model

ARTIFACT = "recommender"
K = 20


class RecommenderModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined]
    """Answers for known users and for users by what they have."""

    def load_context(self, context: Any) -> None:
        """Read the vectors once."""
        self.model = read_model(Path(context.artifacts[ARTIFACT]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row of lists for each row of `model_input`. A bad id is a 400 with one line."""
        k = int((params or {}).get("k", K))
        try:
            return pd.DataFrame([self._row(row, k) for row in model_input.to_dict("records")])
        except UserError as error:
            raise MlflowException(str(error), error_code=BAD_REQUEST) from None

    def _row(self, row: dict[Any, Any], k: int) -> dict[str, list[Any]]:
        user, history, leave_out = (_given(row.get(name)) for name in ("user_id", "history", "leave_out"))
        if (user is None) == (history is None):
            raise UserError("give each row a user_id, or a history of item ids, and not both")
        if user is not None:
            found = self.model.recommend([str(user)], k, leave_out=leave_out or [])
        else:
            found = self.model.recommend_for([history], k, leave_out=leave_out or [])
        return {
            "items": found["item_id"].tolist(),
            "titles": found["title"].tolist(),
            "scores": found["score"].tolist(),
        }


def _given(value: Any) -> Any:
    """None for what is missing or empty, in whatever way the table says so; lists as lists."""
    if hasattr(value, "__len__") and not isinstance(value, str):
        return [str(item) for item in value] or None
    return None if value is None or value == "" or pd.isna(value) else value


mlflow.models.set_model(RecommenderModel())
