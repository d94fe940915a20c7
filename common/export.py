"""``compare.py export``: trained models as ONNX and in their framework's own format, checked before they count."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

import backends
from backends.base import Runtime
from common import data, smaller, store
from common.inputs import load_inputs
from common.onnx_file import RAW, OnnxFile
from common.process import WorkerDied, WorkerProcess
from common.results import Results
from common.smaller import Score
from common.store import Run
from common.trial import Record, runtime
from config import Custom, Trial, UserError, explain, source_of

ROWS = 1000
"""Test images on which an exported model must answer as its framework does."""
TOLERANCE = 1e-4
"""Largest difference allowed in any logit, as a share of its image's largest where that is above 1; in probabilities
where the framework has no logits."""
_NAME, _SMALL = "model.onnx", "model.int8.onnx"
_LIMIT_S = 600.0
_KEY = re.compile(r"[0-9a-f]{4,64}")


_Ask = Callable[[Trial, Runtime, dict[str, Any]], dict[str, Any]]
"""Sends a request to the process of a trial's backend with the runtime given, and returns the answer."""


class Refused(Exception):
    """A model is not exported, for the reason given; nothing of it is on disk."""


@dataclass(frozen=True)
class Choice:
    """A trial to export, and the run that it is of."""

    run: Run
    record: Record

    @property
    def label(self) -> str:
        """Backend, architecture and the first digits of the key."""
        return f"{self.backend} {self.record['architecture']} ({self.record['key'][:8]})"

    @property
    def backend(self) -> str:
        """``torch``, or with its engine ``keras/tensorflow``."""
        return "/".join(filter(None, [self.record["backend"], self.record["engine"]]))

    @property
    def directory(self) -> Path:
        """Where its files go."""
        name = f"{self.backend}_{self.record['architecture']}_{self.record['key'][:8]}"
        return self.run.directory / "export" / re.sub(r"[^A-Za-z0-9.+=_-]+", "-", name)


@dataclass(frozen=True)
class Exported:
    """A model that was written and found to answer as its framework does.

    Attributes
    ----------
    difference : the largest from the framework, as :data:`TOLERANCE` counts it.
    compared : ``logits`` or ``probabilities``.
    rows : images it was found on.
    inputs : (rows, *input_shape), what the network sees of them.
    network : the same model without its preprocessing, as ONNX; gone when the export ends.
    numbers : ``float32``, or ``int8`` of what is computed in 8 bits.
    score : how well it classifies; None where that was not asked.
    """

    choice: Choice
    path: Path
    difference: float
    compared: str
    rows: int
    inputs: npt.NDArray[Any]
    network: bytes
    numbers: str = "float32"
    score: Score | None = None

    @property
    def sparsity(self) -> float:
        """Share of its kernels' weights that were pruned."""
        return float(self.choice.record.get("sparsity") or 0)

    @property
    def line(self) -> str:
        """What is said of it: where it is, and how close to its framework, or to what it was made of."""
        if self.numbers != "float32" and self.score is not None:
            lost = 100 * (self.choice.record["test_accuracy"] - self.score.accuracy)
            return (f"{self.choice.label} in {self.numbers}: {self.path}; {len(self.network) / 1000:,.0f} kB; "
                    f"{100 * self.score.accuracy:.2f}% of the test images right, {lost:.2f} points fewer")  # fmt: skip
        apart = f"within {self.difference:.0e} of" if self.difference else "equal to"
        return f"{self.choice.label}: {self.path}; {self.compared} of {self.rows:,} test images {apart} the framework's"


def choose(what: str, results: Path, everything: bool = False) -> list[Choice]:
    """Return the trials that a run's or a trial's name stands for.

    Parameters
    ----------
    what : a run's name or directory, for the best trial of each backend by validation accuracy; a record's path; or the
        first digits of a trial's key.
    everything : all trials of a run that went well.

    Raises
    ------
    UserError
        Where there is no such run or trial, or nothing to export in it.
    """
    path = Path(what)
    if path.suffix == ".json" and path.is_file() and path.parent.parent.name == "trials":
        return _single(what, [path])
    if _KEY.fullmatch(what) and (paths := sorted(results.glob(f"*/trials/{what[:2]}/{what}*.json"))):
        return _single(what, paths)
    run = Run.find(what, results)
    records = [record for record in run.records(run.study()["keys"]) if record["status"] == "ok"]
    if not records:
        raise UserError(f"run {run.name}: none of its trials went well: there is no model to export")
    choices = [Choice(run, record) for record in records]
    if everything:
        return choices
    best: dict[str, Choice] = {}
    for choice in choices:
        held = best.setdefault(choice.backend, choice)
        if (choice.record["val_accuracy"] or 0) > (held.record["val_accuracy"] or 0):
            best[choice.backend] = choice
    return list(best.values())


def _single(what: str, paths: Sequence[Path]) -> list[Choice]:
    keys = sorted({path.stem for path in paths})
    if len(keys) > 1:
        raise UserError(f"trial {what!r}: {len(keys)} keys begin so; give more digits: {keys[0][:12]}, {keys[1][:12]}")
    run = Run(paths[0].parents[2])
    records = run.records(keys)
    if not records:
        raise UserError(f"trial {what!r}: {paths[0]} is not a record")
    if records[0]["status"] == "ok" and records[0]["test_accuracy"] is None:
        raise UserError(f"trial {what!r}: it is of a search, and was never tested; give a trial of the run's table")
    if records[0]["status"] != "ok":
        raise UserError(f"trial {what!r}: its status is {records[0]['status']}: there is no model to export")
    return [Choice(run, records[0])]


@dataclass(frozen=True)
class Options:
    """How models are exported.

    Attributes
    ----------
    dataset : what :func:`common.data.load` takes for the trials' data, where it is not their name.
    preprocessing : whether the files take raw pixels.
    allow_code : whether a network of the user's own is built, by code that only the record names.
    smaller : whether each network is written in 8 bits too, and both are scored.
    """

    data_dir: str | None = None
    dataset: str | None = None
    preprocessing: bool = True
    allow_code: bool = False
    smaller: bool = False


def export(choices: Sequence[Choice], options: Options) -> Iterator[Exported | tuple[Choice, Refused]]:
    """Export one model after the other, in processes of their frameworks; each is yielded, or why it was refused."""
    workers: dict[tuple[str, Runtime], WorkerProcess] = {}
    with ExitStack() as stack:

        def ask(trial: Trial, settings: Runtime, request: dict[str, Any]) -> dict[str, Any]:
            place = trial.backend, settings
            try:
                if place not in workers:
                    workers[place] = WorkerProcess(*place)
                    stack.callback(workers[place].close)
                answer = workers[place].ask(request, _LIMIT_S)
            except WorkerDied as death:
                workers.pop(place, None)  # the next model gets another process; this one is closed at the end
                raise Refused(str(death).splitlines()[0]) from death
            if "refused" in answer:
                raise Refused(answer["refused"])
            return answer

        for choice in choices:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    yield from _export(choice, options, ask, Path(folder))
                except Refused as reason:
                    yield choice, reason


def _export(choice: Choice, options: Options, ask: _Ask, folder: Path) -> list[Exported]:
    from common.onnx_graph import Preprocessing, finished

    trial, model = _trial(choice, options), _saved_model(choice)
    said, answers = _answers(trial, model, options, ask, folder / "answers.npz")
    _check_record(choice, answers)
    network = folder / "network.onnx"
    _write_network(trial, model, said, ask, network)
    steps = {name.partition("/")[2]: array for name, array in answers.items() if name.startswith("preprocessing/")}
    dtype = "uint8" if answers["images"].dtype == np.uint8 else "float32"
    preprocessing = Preprocessing(steps, tuple(said["image_shape"]), dtype) if options.preprocessing else None
    metadata = _metadata(choice.record, said, options.preprocessing)
    shape, classes = tuple(said["input_shape"]), len(said["classes"])
    networks = {_NAME: network}
    if options.smaller:
        dataset = data.load(options.dataset or trial.dataset, options.data_dir)
        parts = load_inputs(trial, dataset)
        try:
            networks[_SMALL] = smaller.int8(network, parts.inputs["train"], trial.seed, folder)
        except Exception as error:  # whatever ONNX Runtime raises of what it cannot compute so
            raise Refused(f"it cannot be written in 8 bits: {str(error).splitlines()[0]}") from error
    try:
        files = {name: finished(one, shape, classes, metadata, preprocessing) for name, one in networks.items()}
        bare = {name: finished(one, shape, classes, metadata, None) for name, one in networks.items()}
    except Exception as error:  # whatever onnx raises of a graph that is none
        raise Refused(f"its network is no valid ONNX: {str(error).splitlines()[0]}") from error
    difference, compared = _written(choice, trial, model, files, answers, metadata)
    inputs = answers["inputs"].astype(np.float32)
    done = Exported(choice, choice.directory / _NAME, difference, compared, len(inputs), inputs, bare[_NAME])
    if not options.smaller:
        return [done]
    small = replace(done, path=choice.directory / _SMALL, network=bare[_SMALL], numbers="int8")
    return [replace(one, score=smaller.score(one.path, parts, dataset)) for one in (done, small)]


def _answers(
    trial: Trial, model: Path, options: Options, ask: _Ask, path: Path
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return what the data set says, and what the framework answers on its first test images."""
    request = {"trial": json.loads(trial.canonical()), "model": str(model), "rows": ROWS, "path": str(path)}
    request |= {"source": options.dataset or trial.dataset, "data_dir": options.data_dir}
    said = ask(trial, _here(trial), {"answers": request})
    with np.load(path, allow_pickle=False) as file:
        return said, {name: file[name] for name in file.files}


def _write_network(trial: Trial, model: Path, said: Mapping[str, Any], ask: _Ask, path: Path) -> None:
    request = {"trial": json.loads(trial.canonical()), "model": str(model), "path": str(path)}
    request |= {"input_shape": said["input_shape"], "classes": len(said["classes"])}
    ask(trial, backends.load(trial.backend).exporter(_here(trial)), {"onnx": request})


def _here(trial: Trial) -> Runtime:
    """Return where the trial's framework computes, on the CPU, as ONNX Runtime does."""
    return replace(runtime(trial), device="cpu")


def _written(
    choice: Choice,
    trial: Trial,
    model: Path,
    files: Mapping[str, bytes],
    answers: Mapping[str, npt.NDArray[Any]],
    metadata: Mapping[str, Any],
) -> tuple[float, str]:
    """Write all files beside where they belong, and put them there once the model answers as its framework does."""
    staged = choice.directory.with_name(f".{choice.directory.name}.part")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        for name, content in files.items():
            (staged / name).write_bytes(content)
        try:
            difference, compared = compare(OnnxFile(staged / _NAME), answers)
        except Exception as error:  # whatever ONNX Runtime raises of what it cannot compute
            raise Refused(f"ONNX Runtime cannot compute it: {str(error).splitlines()[0]}") from error
        if not difference <= TOLERANCE:
            raise Refused(
                f"ONNX Runtime's {compared} differ from the framework's by {difference:.1e}, more than {TOLERANCE:.0e}"
            )
        shutil.copyfile(model, staged / model.name)
        _write_spec(staged, trial, {**metadata, "compared": compared, "difference": difference})
        _put(staged, choice.directory)
        return difference, compared
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        with suppress(OSError):  # where other models are in it
            staged.parent.rmdir()


def _trial(choice: Choice, options: Options) -> Trial:
    try:
        trial = Trial.model_validate_json(json.dumps(choice.record["spec"]))
    except ValidationError as error:
        lines = "; ".join(explain(error, Trial))
        raise Refused(f"its record is of another version of samenet: {lines}") from error
    network = trial.architecture
    if isinstance(network, Custom):
        if not options.allow_code:
            raise Refused(f"{network.place} is code, and is not run because a record names it; say --allow-code")
        try:
            found = hashlib.sha256(source_of(network.place).read_bytes()).hexdigest()
        except ValueError as error:
            raise Refused(str(error)) from error
        if found != network.sha256:
            raise Refused(f"{network.place}: its file was changed since the training")
    return trial


def _saved_model(choice: Choice) -> Path:
    found = sorted(choice.run.artefacts(choice.record["key"]).glob("model.*"))
    if len(found) != 1:
        raise Refused(f"its model is not in {choice.run.artefacts(choice.record['key'])}")
    return found[0]


def _check_record(choice: Choice, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse a saved model that does not predict what the record's did: another's, or a damaged one."""
    found = Results(choice.run).predictions(choice.record["key"])
    rows = len(arrays["index"])
    if found is None or not np.array_equal(found["index"][:rows], arrays["index"]):
        raise Refused("its predictions.npz is gone or damaged, so that its model cannot be checked against the record")
    answers = arrays["logits"] if "logits" in arrays else arrays["probabilities"]
    wrong = int((answers.argmax(axis=1) != found["predicted"][:rows]).sum())
    if wrong > rows // 1000:  # one tie may fall either way
        raise Refused(
            f"its model predicts otherwise than the record says, for {wrong} of {rows} test images: it was changed "
            "after the training"
        )


def compare(model: OnnxFile, answers: Mapping[str, npt.NDArray[Any]]) -> tuple[float, str]:
    """Return the largest difference between ONNX Runtime's answers and a framework's, and of what.

    All images go through at once, and a few again one by one and seven at a time, since the number of rows must be free.

    Parameters
    ----------
    answers : what :func:`common.answers.write_answers` wrote.
    """
    raw = model.input_name == RAW
    inputs = answers["images"] if raw else answers["inputs"]
    inputs = inputs if inputs.dtype == np.uint8 else inputs.astype(np.float32)
    compared = "logits" if "logits" in answers else "probabilities"
    expected = answers[compared].astype(np.float64)
    scale = np.maximum(1, np.abs(expected).max(axis=1, keepdims=True))
    differences = [
        np.abs((model.run(inputs[rows])[compared] - expected[rows]) / scale[rows]).max()
        for rows in (slice(None), slice(0, 1), slice(1, 2), slice(2, 9))
        if len(expected[rows])
    ]
    return float(np.max(differences)), compared


def _metadata(record: Record, said: Mapping[str, Any], preprocessing: bool) -> dict[str, Any]:
    """Return what a file says of its model: where it comes from, how good it is, and what it takes."""
    names = ("architecture", "backend", "engine", "dataset", "data_sha256", "test_accuracy", "val_accuracy", "n_test")
    features = ("scaling", "input_size", "pca")
    return {
        **{name: record[name] for name in names},
        "trial": record["key"],
        "versions": json.loads(record["versions"]) if record.get("versions") else None,
        "preprocessing": {name: record[name] for name in features} if preprocessing else None,
        **said,
    }


def _write_spec(folder: Path, trial: Trial, metadata: Mapping[str, Any]) -> None:
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    spec = {**metadata, "files": files, "spec": json.loads(trial.canonical())}
    store.write_atomically(folder / "spec.json", store.to_json(spec, indent=1) + "\n")


def _put(staged: Path, final: Path) -> None:
    """Put a finished folder where it belongs; one that was there goes at the last moment."""
    for path in staged.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    os.replace(staged, final)
