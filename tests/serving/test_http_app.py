"""The service over HTTP, without Ray Serve: lists of the run, limits, and errors of one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from small_runs import Small, run

from bifair_dist.serving.answers import Ask, Found, Refusal, answers
from bifair_dist.serving.from_run import recommender_of
from bifair_dist.serving.http_app import Health, make_app
from bifair_dist.serving.recommender import Recommender
from bifair_dist.serving.service_settings import ServiceSettings

LIMITS = ServiceSettings(max_k=50, max_history=8, max_body=500, exclude="valid")


@pytest.fixture(scope="module")
def done(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(small, tmp_path_factory.mktemp("runs"), {})


@pytest.fixture(scope="module")
def model(done: Path) -> Recommender:
    return recommender_of(done)


@pytest.fixture(scope="module")
def web(model: Recommender) -> TestClient:
    async def ask(one: Ask) -> Found | Refusal:
        if one.user == "breaks":
            raise RuntimeError("secret")
        return answers(model, "v", [one], LIMITS.exclude)[0]

    async def health() -> Health | Refusal:
        return Refusal(503, "no answer")

    return TestClient(make_app(ask, health, LIMITS), raise_server_exceptions=False)


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["item_id"] for row in answer.json()["items"]]


def test_the_lists_of_the_run(web: TestClient, done: Path) -> None:
    for user, want in pd.read_parquet(done / "recommendations.parquet").groupby("user_id"):
        got = web.get("/recommend", params={"user": str(user)}).json()
        assert got["version"] == "v"
        table = pd.DataFrame(got["items"])
        assert table["item_id"].tolist() == want["item_id"].tolist()
        assert table["rank"].tolist() == want["rank"].tolist()
        np.testing.assert_allclose(table["score"], want["score"], atol=1e-6)


def test_histories_exclusions_and_similar_items(web: TestClient, model: Recommender) -> None:
    user, history = str(model.user_ids[3]), [str(item) for item in model.item_ids[:3]]
    unwanted = model.recommend([user], 2, exclude="valid")["item_id"].tolist()
    got = ids(web.post("/recommend", json={"user": user, "k": 5, "exclude": unwanted}))
    assert got == model.recommend([user], 7, exclude="valid")["item_id"].tolist()[2:]
    got = ids(web.post("/recommend", json={"history": history, "k": 5}))
    assert got == model.recommend_for([history], 5)["item_id"].tolist()
    got = ids(web.get("/similar", params={"item": history[0], "k": 4}))
    assert got == model.similar_items(history[0], 4)["item_id"].tolist()


BAD: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/recommend?user=nobody", None, 404, "user: 'nobody' is no user of the run"),
    ("GET", "/recommend", None, 422, "user: "),
    ("GET", "/recommend?user=USER&k=many", None, 422, "k: "),
    ("GET", "/recommend?user=USER&k=0", None, 422, "k: 0; give 1 or more"),
    ("GET", "/recommend?user=USER&k=51", None, 422, "k: 51; at most 50"),
    ("GET", "/recommend?user=%0Aa%0Ab", None, 404, "is no user"),
    ("GET", "/similar?item=no", None, 404, "item: 'no' is no item of the catalogue"),
    ("GET", "/nothing", None, 404, "Not Found"),
    ("DELETE", "/recommend", None, 405, "Method Not Allowed"),
    ("POST", "/recommend", {}, 422, "give a user, or a history"),
    ("POST", "/recommend", {"user": "USER", "history": ["x"]}, 422, "not both"),
    ("POST", "/recommend", {"history": []}, 422, "history: empty"),
    ("POST", "/recommend", {"history": ["no"]}, 404, "history: 'no' is no item"),
    ("POST", "/recommend", {"history": ["x"] * 9}, 422, "history: 9 ids; at most 8"),
    ("POST", "/recommend", {"user": "USER", "exclude": ["x"] * 9}, 422, "exclude: 9 ids; at most 8"),
    ("POST", "/recommend", {"user": "USER", "k": "5"}, 422, "k: "),
    ("POST", "/recommend", {"user": "USER", "kk": 5}, 422, "kk: "),
    ("POST", "/recommend", {"user": ["USER"]}, 422, "user: "),
    ("POST", "/recommend", b"{", 400, "the body is not JSON"),
    ("POST", "/recommend", b"[1]", 422, ""),
    ("POST", "/recommend", b'{"user": "\xff"}', 400, ""),
    ("POST", "/recommend", {"user": "x" * 500}, 413, "body: larger than 500 bytes"),
    ("GET", "/health", None, 503, "no answer"),
    ("GET", "/recommend?user=breaks", None, 500, "the service failed"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "said"), BAD, ids=lambda value: repr(value)[:40])
def test_bad_input_is_one_line(
    web: TestClient, model: Recommender, method: str, path: str, body: Any, status: int, said: str
) -> None:
    user = str(model.user_ids[0])
    if isinstance(body, dict):
        body = {key: user if value == "USER" else value for key, value in body.items()}
    how = (
        {"content": body, "headers": {"content-type": "application/json"}}
        if isinstance(body, bytes)
        else {"json": body}
    )
    answer = web.request(method, path.replace("USER", user), **({} if body is None else how))
    told = answer.json()
    assert (answer.status_code, list(told)) == (status, ["error"]), answer.text
    assert said in told["error"] and "\n" not in told["error"] and "secret" not in told["error"]


def test_a_body_that_does_not_say_its_size(web: TestClient) -> None:
    answer = web.post(
        "/recommend", content=(b" " * 100 for _ in range(9)), headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()) == (413, {"error": "body: larger than 500 bytes"})


def test_the_page_describes_everything(web: TestClient) -> None:
    assert "swagger" in web.get("/docs").text
    paths = web.get("/openapi.json").json()["paths"]
    assert {path: set(methods) for path, methods in paths.items()} == {
        "/recommend": {"get", "post"},
        "/similar": {"get"},
        "/health": {"get"},
    }
    assert set(paths["/similar"]["get"]["responses"]) == {"200", "404", "413", "422", "503"}


def test_ids_are_text_also_where_they_look_like_numbers(web: TestClient) -> None:
    assert "'17'" in web.post("/recommend", json={"user": 17}).json()["error"]
