"""What one run of `train` fits: the frames of a training set, cleaned by rules that are fitted on the first of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.artifacts.card import CardCleaning
from pipelines.errors import InvalidInput
from pipelines.training.cleaning import fit_cleaning
from pipelines.training.families import load_family, reads_auxiliary
from pipelines.training.frames import numeric_inputs, read_auxiliary, read_frame
from pipelines.training.tuning import Frames, Task
from pipelines.usecase import LABEL

if TYPE_CHECKING:
    from pipelines.artifacts.manifest import Manifest
    from pipelines.params import Params
    from pipelines.store import Store
    from pipelines.training.distillation import Lesson


def read_task(
    name: str,
    training_set_uri: str,
    manifest: Manifest,
    params: Params,
    seed: int,
    store: Store,
    work: Path,
    lesson: Lesson | None,
) -> Task:
    """The task of a family on a training set.

    Raises:
        InvalidInput: if every training label is the same.
    """
    family, inputs = load_family(name), manifest.model_inputs.inputs
    train, validation = (read_frame(store, training_set_uri, part, manifest) for part in ("train", "validation"))
    if train[LABEL].nunique() < 2:
        raise InvalidInput(f"{training_set_uri}: every training label is the same; widen the training window")
    auxiliary = manifest.auxiliary if reads_auxiliary(family) else ()
    further = read_auxiliary(store, training_set_uri, manifest) if auxiliary else None
    cleaning = fit_cleaning(numeric_inputs(train, inputs), inputs.numeric, name, params.cleaning)
    return Task(
        family,
        name,
        inputs,
        Frames(train, validation, auxiliary, further),
        params.cleaning,
        cleaning,
        seed,
        work,
        params.training.compression_of(name),
        lesson,
    )


def cleaned(task: Task) -> CardCleaning:
    """What cleaning learnt, by input (`columns`), and what it changes in the frames (`counts`)."""
    frames = {"train": task.frames.train, "validation": task.frames.validation}
    counts = {name: task.cleaning.count(numeric_inputs(frame, task.inputs)) for name, frame in frames.items()}
    return CardCleaning(columns=task.cleaning.facts(), counts=counts)
