"""The MLflow model of a run: loaded and served where neither Ray nor this checkout can be imported."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_runs import Small, run

from bifair_dist.errors import UserError
from bifair_dist.serving.from_run import recommender_of
from bifair_dist.serving.source import source_of
from bifair_dist.tracking import tracking_uri
from bifair_dist.tracking_settings import TrackingSettings

BLOCKED = """
import importlib.abc, sys
class NoRay(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ray":
            raise ImportError("this environment has no Ray")
sys.meta_path.insert(0, NoRay())
"""


@pytest.fixture(scope="module")
def done(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {"tracking.enabled": True, "training.run_name": "one", "tracking.register_as": "shop"}
    return run(small, tmp_path_factory.mktemp("runs"), changes)


def uri_of(folder: Path) -> str:
    return tracking_uri(TrackingSettings(), folder.parent)


def client(folder: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri_of(folder))


@pytest.fixture(scope="module")
def elsewhere(done: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Arguments of a subprocess that has the tracking store, and no Ray."""
    place = tmp_path_factory.mktemp("elsewhere")
    (place / "sitecustomize.py").write_text(BLOCKED)
    return {
        "cwd": place,
        "env": os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # mlflow starts uvicorn by its name
            "PYTHONPATH": str(place),
            "MLFLOW_TRACKING_URI": uri_of(done),
            "OMP_NUM_THREADS": "1",
        },
    }


def test_it_is_registered_and_its_run_stays_finished(done: Path) -> None:
    store = client(done)
    (version,) = store.search_model_versions("name='shop'")
    run_id = (done / "mlflow_run_id").read_text().strip()
    assert version.run_id == run_id and store.get_run(run_id).info.status == "FINISHED"
    assert store.get_run(run_id).outputs.model_outputs


def test_it_says_what_goes_in_and_out(done: Path) -> None:
    import mlflow

    mlflow.set_tracking_uri(uri_of(done))
    info = mlflow.models.get_model_info("models:/shop/1")
    assert info.signature.inputs.input_names() == ["user_id", "history", "leave_out"]
    assert info.signature.outputs.input_names() == ["items", "titles", "scores"]
    assert [p.name for p in info.signature.params] == ["k"]


def test_it_answers_as_the_run_does_without_ray_and_without_this_checkout(
    done: Path, elsewhere: dict[str, Any]
) -> None:
    model = recommender_of(done)
    user, history = str(model.user_ids[3]), [str(item) for item in model.item_ids[:2]]
    code = (
        "import json, mlflow, pandas as pd, sys\n"
        "model = mlflow.pyfunc.load_model('models:/shop/1')\n"
        f"rows = pd.DataFrame({{'user_id': [{user!r}, None], 'history': [None, {history!r}]}})\n"
        "found = model.predict(rows, params={'k': 7})\n"
        "assert 'ray' not in sys.modules\n"
        "print(json.dumps([sys.modules['bifair_dist'].__file__, found.to_dict('list')]))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **elsewhere)
    assert ended.returncode == 0, ended.stderr[-3000:]
    code_file, found = json.loads(ended.stdout)
    assert code_file.startswith(str(done.parent / "mlflow_artifacts"))
    for n, want in enumerate((model.recommend([user], 7), model.recommend_for([history], 7))):
        assert found["items"][n] == want["item_id"].tolist()
        assert found["titles"][n] == want["title"].tolist()
        assert found["scores"][n] == pytest.approx(want["score"].tolist(), abs=1e-6)


@pytest.fixture(scope="module")
def served(elsewhere: dict[str, Any]) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "models serve --model-uri models:/shop/1 --env-manager local --host 127.0.0.1 --workers 1 --port"
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command.split(), str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **elsewhere,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"{url}/ping", timeout=5):
                    break
            except OSError:
                assert server.poll() is None, server.communicate()[0][-3000:]
                time.sleep(0.5)
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.communicate(timeout=60)


def asked(url: str, body: dict[str, Any]) -> tuple[int, Any]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/invocations", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.slow
def test_mlflow_models_serve(served: str, done: Path) -> None:
    model = recommender_of(done)
    user, history = str(model.user_ids[3]), [str(item) for item in model.item_ids[:2]]
    unwanted = model.recommend([user], 1)["item_id"].tolist()
    rows = [{"user_id": user, "leave_out": unwanted}]
    code, (found,) = asked(served, {"dataframe_records": rows, "params": {"k": 5}})
    assert code == 200 and found["items"] == model.recommend([user], 6)["item_id"].tolist()[1:]
    code, (found,) = asked(served, {"dataframe_records": [{"history": history}], "params": {"k": 5}})
    want: pd.DataFrame = model.recommend_for([history], 5)
    assert code == 200 and found["items"] == want["item_id"].tolist() and found["titles"] == want["title"].tolist()
    for row, said in (
        ({"user_id": "nobody"}, "'nobody' is no user of the run"),
        ({"history": ["nothing"]}, "'nothing' is no item of the catalogue"),
        ({"user_id": user, "history": history}, "and not both"),
    ):
        code, told = asked(served, {"dataframe_records": [row]})
        assert code == 400 and said in told["message"], told


def test_the_service_follows_an_alias(done: Path) -> None:
    """`jobs/serve.py models:/shop@live`."""
    store, want = client(done), recommender_of(done)
    with pytest.raises(UserError, match="run: models:/shop@live: "):
        source_of("models:/shop@live", uri_of(done)).current()
    source = store.get_model_version("shop", "1").source
    second = store.create_model_version("shop", source)
    names = []
    for number in ("1", second.version):
        store.set_registered_model_alias("shop", "live", number)
        names.append(source_of("models:/shop@live", uri_of(done)).current().name)
    store.delete_model_version("shop", second.version)
    assert names == ["shop/1", "shop/2"]
    got = source_of("models:/shop/1", uri_of(done)).current().load()
    pd.testing.assert_frame_equal(got.recommend(k=7), want.recommend(k=7), atol=1e-6)
    with pytest.raises(UserError, match="run: models:/shop/7: "):
        source_of("models:/shop/7", uri_of(done)).current()
