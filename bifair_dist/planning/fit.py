"""Whether a training fits a profile's memory, and what to change where it does not.

Each of them is a change of settings, planned again like any other: what is printed for it is computed and not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

from bifair_dist.cost.work import Sizes, Work
from bifair_dist.errors import UserError
from bifair_dist.hardware import Hardware
from bifair_dist.planning.memory import BASE, CONTEXT, Part, parts, tables, total
from bifair_dist.settings import override
from bifair_dist.training.phases import phases_of
from bifair_dist.training.propagation import serves_cached
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.work import work_of

HEADROOM = 0.9  # of the memory: allocators keep freed blocks, and other processes want some
MIN_GAIN = 0.05  # share of memory that a saving has to save to be worth a line


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that one worker needs on its device and on the host; without a GPU all is on the host."""

    device: int
    host: int


@dataclass(frozen=True, slots=True)
class Saving:
    """A change of settings, as words for the command line, and what a worker needs with it."""

    words: str
    settings: TrainSettings
    workers: int
    need: Need
    fits: bool


def heaviest(settings: TrainSettings, sizes: Sizes, workers: int, hardware: Hardware) -> tuple[str, Work]:
    """Name and step of the phase that needs most memory. Raises `UserError` where no phase would run."""
    found = [(p.name, work_of(settings, sizes, p, workers)) for p in phases_of(settings)]
    if not found:
        raise UserError("plan: no phase would run: training.max_epochs and training.bilevel_epochs are 0")
    return max(found, key=lambda named: total(all_parts(named[1], hardware)))


def all_parts(work: Work, hardware: Hardware) -> list[Part]:
    """The parts of a worker of a training on this hardware, the process itself included."""
    context = [Part("CUDA context", CONTEXT)] if hardware.is_gpu else []
    return [
        *parts(work, keeps=not hardware.is_gpu, gpu=hardware.is_gpu),
        *context,
        tables(work),
        Part("Python, torch and imports", BASE, True),
    ]


def need(work: Work, hardware: Hardware) -> Need:
    """What one worker needs."""
    found = all_parts(work, hardware)
    if not hardware.is_gpu:
        return Need(0, total(found))
    return Need(total(found, host=False), total(found, host=True))


def available(hardware: Hardware, workers: int) -> float:
    """Bytes that one worker may use: a GPU's memory, or its share of the machine's."""
    return HEADROOM * hardware.memory / min(hardware.sharing, workers)


def fits(wanted: Need, hardware: Hardware, workers: int) -> bool:
    """Whether the memory is enough; the host memory of a machine with GPUs is not in the profile and only printed."""
    return (wanted.device if hardware.is_gpu else wanted.host) <= available(hardware, workers)


def savings(settings: TrainSettings, sizes: Sizes, workers: int, hardware: Hardware) -> list[Saving]:
    """Changes that save memory, those that make it fit first, then by how much they save."""
    now = _used(need(heaviest(settings, sizes, workers, hardware)[1], hardware), hardware)
    found: list[Saving] = []
    for words, changed in _single(settings, hardware).items():
        found.append(_saving(words, changed, sizes, workers, hardware))
    helping = [c for c in found if _used(c.need, hardware) < (1 - MIN_GAIN) * now]
    if enough := _workers_that_fit(settings, sizes, workers, hardware):
        helping.append(_saving(f"--cluster.workers {enough}", settings, sizes, enough, hardware))
    if len(helping) > 1 and not any(c.fits for c in helping):
        together, said = settings, list[str]()
        for saving in helping:
            together = _single(together, hardware).get(saving.words, together)
            said.append(saving.words)
        enough = _workers_that_fit(together, sizes, workers, hardware) or workers
        said += [f"--cluster.workers {enough}"] if enough != workers else []
        helping.append(_saving(" ".join(said), together, sizes, enough, hardware))
    return sorted(helping, key=lambda c: (not c.fits, _used(c.need, hardware)))


def _single(settings: TrainSettings, hardware: Hardware) -> dict[str, TrainSettings]:
    """Single changes that these settings allow, by their words."""
    model, training = settings.model, settings.training
    found: dict[str, TrainSettings] = {}
    trains_z = any(phase.train_z for phase in phases_of(settings)) and not training.id_embeddings
    cached = model.propagation == "cached"
    can_offload = trains_z and not cached and not settings.deepspeed.offload_z_adam and model.dtype == "float32"
    if hardware.is_gpu and can_offload:
        found["--training.strategy deepspeed --deepspeed.offload_z_adam true"] = override(
            settings, {"training.strategy": "deepspeed", "deepspeed.offload_z_adam": True}
        )
    if training.id_embeddings:
        if model.embedding_dim >= 16:
            half = model.embedding_dim // 2
            found[f"--model.embedding_dim {half}"] = override(settings, {"model.embedding_dim": half})
    elif model.users == "follow" and not cached:  # cached inputs take what fixed ones do
        found["--model.users frozen"] = override(settings, {"model.users": "frozen"})
    if model.projector == "mlp" and model.hidden >= 64 and not training.id_embeddings:
        half = model.hidden // 2
        found[f"--model.hidden {half}"] = override(settings, {"model.hidden": half})
    if training.batch_size >= 512:
        less = training.batch_size // 4
        found[f"--training.batch_size {less}"] = override(settings, {"training.batch_size": less})
    if model.negative_sampling == "per_example":
        found["--model.negative_sampling shared"] = override(settings, {"model.negative_sampling": "shared"})
    if not cached and serves_cached(settings):
        found["--model.propagation cached"] = override(settings, {"model.propagation": "cached"})
    if cached and model.z_device == "device":
        place = "cpu" if hardware.is_gpu else "disk"
        found[f"--model.z_device {place}"] = override(settings, {"model.z_device": place})
    if training.average > 0:
        found["--training.average 0"] = override(settings, {"training.average": 0.0})
    return found


def _saving(words: str, settings: TrainSettings, sizes: Sizes, workers: int, hardware: Hardware) -> Saving:
    wanted = need(heaviest(settings, sizes, workers, hardware)[1], hardware)
    return Saving(words, settings, workers, wanted, fits(wanted, hardware, workers))


def _workers_that_fit(settings: TrainSettings, sizes: Sizes, workers: int, hardware: Hardware) -> int:
    """Fewest workers above the present number with which it fits; 0 where not even one for each column does."""
    for more in range(workers + 1, settings.model.embedding_dim + 1):
        if fits(need(heaviest(settings, sizes, more, hardware)[1], hardware), hardware, more):
            return more
    return 0


def _used(wanted: Need, hardware: Hardware) -> int:
    return wanted.device if hardware.is_gpu else wanted.host
