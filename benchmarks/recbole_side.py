"""RecBole's half of `recbole.py`: train and evaluate one model as RecBole does, write figures as JSON.

    RECBOLE_PYTHON benchmarks/recbole_side.py REQUEST.json ANSWER.json

Runs under the Python that has RecBole and imports nothing of this project. REQUEST: model, dataset, RecBole's settings,
threads. ANSWER: test figures, processor seconds of each epoch and of three rankings of the test users, versions.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    here = str(Path(__file__).resolve().parent)
    sys.path = [p for p in sys.path if p != here]  # recbole.py lies here, and is not the package
    import numpy
    import recbole
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    request = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(request["threads"])
    # RecBole's checkpoints hold its settings object, which torch 2.6 and later load only when asked. The file is ours.
    torch.load = functools.partial(torch.load, weights_only=False)
    config = Config(model=request["model"], dataset=request["dataset"], config_dict=request["settings"])
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    model = get_model(request["model"])(config, train.dataset).to("cpu")
    trainer = get_trainer(config["MODEL_TYPE"], request["model"])(config, model)
    epochs: list[float] = []
    train_epoch = trainer._train_epoch

    def timed(*args: Any, **named: Any) -> Any:
        start = time.process_time()
        result = train_epoch(*args, **named)
        epochs.append(time.process_time() - start)
        return result

    trainer._train_epoch = timed
    trainer.fit(train, valid, verbose=False, saved=True, show_progress=False)
    found = dict(trainer.evaluate(test, load_best_model=True, show_progress=False))
    ranking = []
    for _ in range(3):
        start = time.process_time()
        trainer.evaluate(test, load_best_model=False, show_progress=False)
        ranking.append(time.process_time() - start)
    answer = {
        "test": {name: float(value) for name, value in found.items()},
        "epochs": epochs,
        "ranking": ranking,
        "versions": f"RecBole {recbole.__version__}, torch {torch.__version__}, numpy {numpy.__version__}",
    }
    Path(sys.argv[2]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
