"""Specifications: how studies multiply out, how architectures are spelled, and what a trial's key holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backends
from common import data, studies
from common.inputs import cut, input_shape
from config import FeedForward, Study, Trial, UserError, Vocabulary, expand, nearest, parse_architecture

WORDS = Vocabulary(
    backends={"plain": (), "engined": ("first", "second")},
    architectures={"conv": {"width": 8, "rate": 0.5, "norm": True, "pool": "max"}},
)
BASE = {"backend": "plain", "architecture": "ffn:4"}


def trials(*grids: dict[str, Any], over: dict[str, list[Any]] | None = None, **base: Any) -> list[Trial]:
    """Multiply out a study of these grids over BASE."""
    study = Study(name="s", question="?", base={**BASE, **base}, grids=list(grids) or [{}])
    return studies.trials(study, over or {}, WORDS)


def problems(*grids: dict[str, Any], **base: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        trials(*grids, **base)
    return str(caught.value).splitlines()


# Expansion


def test_lists_are_multiplied_out() -> None:
    found = trials(
        architecture=["ffn:4", "ffn:8"], train_share=[0.6, 0.8], seeds=3, training={"epochs": [1, 2], "batch_size": 64}
    )
    combinations = {(t.architecture.label, t.train_share, t.seed, t.training.epochs) for t in found}
    assert len(found) == len(combinations) == 2 * 2 * 3 * 2
    assert {t.training.batch_size for t in found} == {64}


def test_seeds_are_outermost_so_that_every_configuration_soon_has_a_result() -> None:
    assert [trial.seed for trial in trials(architecture=["ffn:4", "ffn:8"], seeds=3)] == [0, 0, 1, 1, 2, 2]


def test_grids_are_laid_over_the_base_leaf_by_leaf() -> None:
    first, second = trials(
        {"training": {"l2": 0.1}},
        {"training": {"epochs": 7}, "architecture": "ffn:9"},
        training={"epochs": 3, "batch_size": 16},
        features={"scaling": "none"},
    )
    assert (first.training.l2, first.training.epochs, first.training.batch_size) == (0.1, 3, 16)
    assert (second.training.l2, second.training.epochs, second.training.batch_size) == (0, 7, 16)
    assert (first.architecture.label, second.architecture.label) == ("ffn:4", "ffn:9")
    assert first.features.scaling == second.features.scaling == "none"


def test_duplicates_are_removed() -> None:
    assert len(trials({}, {}, {"architecture": ["ffn:4", "ffn:4:relu", {"name": "ffn:4", "dropout": 0.0}]})) == 1


def test_engines_go_to_the_backends_that_have_them() -> None:
    found = trials(backend=["plain", "engined"], engine=["first", "second"])
    assert [(t.backend, t.engine) for t in found] == [("plain", None), ("engined", "first"), ("engined", "second")]


def test_the_first_engine_is_the_default() -> None:
    (implied,), (named,) = trials(backend="engined"), trials(backend="engined", engine="first")
    assert implied.engine == "first"
    assert implied.key == named.key


def test_command_line_selects_backends_and_replaces_the_rest() -> None:
    grids = {"backend": ["plain", "engined"]}, {"backend": "engined", "architecture": "conv"}
    plain = trials(*grids, over={"backend": ["plain"]})
    assert [(t.backend, t.architecture.label) for t in plain] == [("plain", "ffn:4")]
    engined = trials(*grids, over={"backend": ["engined"], "training.epochs": [2, 3]})
    assert [(t.architecture.label, t.training.epochs) for t in engined] == [
        ("ffn:4", 2),
        ("ffn:4", 3),
        ("conv", 2),
        ("conv", 3),
    ]
    assert [t.backend for t in trials({"backend": "plain"}, over={"backend": ["engined"]})] == ["engined"]


@pytest.mark.parametrize("over", [{}, {"backend": ["engined", "plain"]}])
def test_an_engine_replaces_those_of_grids_with_a_backend_that_has_engines(over: dict[str, Any]) -> None:
    grids = [{"backend": ["plain", "engined"]}, {"architecture": "ffn:5"}]
    found = trials(*grids, over={**over, "engine": ["second"]})
    assert {(trial.backend, trial.engine) for trial in found} == {("plain", None), ("engined", "second")}
    assert len(found) == 3
    with pytest.raises(UserError, match="engine: 'second' does not go with backend plain"):
        trials(*grids, over={"backend": ["plain"], "engine": ["second"]})


def test_defaults_are_those_of_the_seed() -> None:
    (trial,) = trials()
    training = trial.training
    assert (training.validation, training.early_stopping_patience, training.learning_rate) == (0.1, 5, 0.001)
    assert (training.batch_size, training.epochs) == (32, 50)
    assert (trial.protocol, trial.loop, trial.device, trial.precision) == ("matched", "tuned", "cpu", "float32")


def test_all_mistakes_of_all_grids_are_said_once() -> None:
    found = problems(
        {"training": {"epochs": 0}},
        {"training": {"epcohs": 1}, "architecture": ["ffn:4", "conb"]},
        precision="float46",
    )
    assert found == [
        "grids[0].training.epochs: found 0; input should be greater than or equal to 1",
        "precision: found 'float46'; input should be 'float32', 'float64' or 'bfloat16'; did you mean 'float64'?",
        *(line for line in found if line.startswith("grids[1].")),
    ]
    assert sum("did you mean 'epochs'?" in line for line in found) == 1
    assert sum("did you mean 'conv'?" in line for line in found) == 1
    assert len(found) == 4


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "loop: 'idiomatic' needs protocol 'native'"),
        ({"protocol": "native", "training": {"augmentation": "shift"}}, "training.augmentation: loop 'idiomatic'"),
        ({"protocol": "native", "training": {"schedule": "cosine"}}, "training.schedule: loop 'idiomatic'"),
    ],
)
def test_a_loop_of_the_frameworks_own_is_asked_for_nothing_it_cannot_do(fields: Any, expected: str) -> None:
    (line,) = problems(loop="idiomatic", **fields)
    assert line.startswith(expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"widht": 4}, "conv has no option 'widht'; did you mean 'width'? Its options: width, rate, norm, pool"),
        ({"width": 4.5}, "option width of conv is 4.5; it takes a value of type int"),
        ({"width": True}, "option width of conv is True; it takes a value of type int"),
        ({"norm": 1}, "option norm of conv is 1; it takes a value of type bool"),
        ({"pool": 2}, "option pool of conv is 2; it takes a value of type str"),
        ([4], "options of conv are [4]; write them as an object"),
    ],
)
def test_options_are_checked(options: Any, expected: str) -> None:
    (line,) = problems(architecture={"name": "conv", "options": options})
    assert line.startswith(f"architecture: {expected}")


def test_nearest_spelling_is_a_question_or_a_full_stop() -> None:
    assert nearest("trch", ["torch", "keras"]) == "; did you mean 'torch'?"
    assert nearest("zzz", ["torch", "keras"]) == "."


# Spelling of architectures


@pytest.mark.parametrize(
    ("text", "sizes", "activations"),
    [
        ("ffn:64", (64,), ("relu",)),
        ("ffn:128-64", (128, 64), ("relu", "relu")),
        ("ffn:3x8:sigmoid", (8, 8, 8), ("sigmoid",) * 3),
        ("ffn:2x8-4:tanh", (8, 8, 4), ("tanh",) * 3),
        ("ffn:32-32-32:sigmoid-relu-tanh", (32, 32, 32), ("sigmoid", "relu", "tanh")),
        ("ffn:5:leaky_relu", (5,), ("leaky_relu",)),
    ],
)
def test_spelling_is_read(text: str, sizes: tuple[int, ...], activations: tuple[str, ...]) -> None:
    (trial,) = trials(architecture=text)
    architecture = trial.architecture
    assert isinstance(architecture, FeedForward)
    assert architecture.hidden_layer_sizes == sizes
    assert architecture.activations == activations


@pytest.mark.parametrize(
    "text",
    ["ffn", "ffn:", "ffn:-", "ffn:x", "ffn:4x", "ffn:x4", "ffn:4 4", "ffn:4:", "ffn:4:RELU", "ffn:1001x2", "ffn:4-"],
)
def test_misspelling_is_refused_with_the_form_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"write ffn:SIZES\[:ACTIVATIONS\], such as ffn:64"):
        parse_architecture(text)


ACTIVATIONS = st.sampled_from(["relu", "sigmoid", "tanh", "leaky_relu", "softplus"])


@st.composite
def networks(draw: st.DrawFn) -> FeedForward:
    sizes = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=6)))
    activations = tuple(draw(ACTIVATIONS) for _ in sizes)
    return FeedForward(
        hidden_layer_sizes=sizes,
        activations=draw(st.sampled_from([activations, activations[:1]])),
        dropout=draw(st.sampled_from([0.0, 0.25, 1e-5])),
        batch_norm=draw(st.booleans()),
    )


@given(networks())
def test_label_reads_back_as_the_same_network(network: FeedForward) -> None:
    assert FeedForward.model_validate(parse_architecture(network.label)) == network


@pytest.mark.parametrize("options", [{}, {"scores": "uniform"}, {"blocks": 2, "scores": "none"}], ids=str)
def test_label_of_a_registered_network_reads_back(options: dict[str, Any]) -> None:
    words = backends.vocabulary()
    (trial,) = expand([{"backend": ["torch"], "architecture": [{"name": "attention_2k", **options}]}], words)
    (again,) = expand([{"backend": ["torch"], "architecture": [trial.architecture.label]}], words)
    assert again.architecture == trial.architecture


def test_label_of_a_network_of_ones_own_reads_back() -> None:
    assert parse_architecture("a+b/nets.py:net+width=3+kind=wide") == {
        "name": "custom",
        "place": "a+b/nets.py:net",
        "width": 3,
        "kind": "wide",
    }


@given(networks(), networks())
def test_different_networks_have_different_labels(one: FeedForward, other: FeedForward) -> None:
    assert (one.label == other.label) == (one == other)


def test_label_names_what_differs_from_the_defaults() -> None:
    assert FeedForward(hidden_layer_sizes=(4,), dropout=0.25, batch_norm=True).label == "ffn:4+dropout=0.25+batch_norm"
    (changed,) = trials(architecture={"name": "conv", "width": 16, "norm": True})
    assert changed.architecture.label == "conv+width=16"
    (canonical,) = trials(architecture={"name": "conv", "options": {"width": 16}})
    assert canonical.key == changed.key
    (plain,) = trials(architecture="conv")
    assert plain.architecture.label == "conv"


def test_options_of_their_default_value_make_no_difference() -> None:
    (plain,), (said,) = trials(architecture="conv"), trials(architecture={"name": "conv", "options": {"width": 8}})
    assert plain.key == said.key


# Keys

PLAIN = {"backend": "sklearn", "architecture": {"name": "ffn", "hidden_layer_sizes": (64,)}, "dataset": "digits"}


def test_key_is_pinned() -> None:
    """A change of this key orphans every record there is: make it only with a reason, and say so."""
    trial = Trial.model_validate({**PLAIN, "data_sha256": "0" * 64, "training": {"epsilon": 1e-8}})
    assert trial.key == "dc9bdb6f3d0efda8b911b5d213de4cda825f19628326e5247f9824539221c36e"


CHANGES: list[dict[str, Any]] = [
    {"backend": "keras"},
    {"engine": "jax"},
    {"architecture": "ffn:65"},
    {"architecture": "ffn:64:tanh"},
    {"architecture": {"name": "ffn:64", "dropout": 0.1}},
    {"architecture": {"name": "ffn:64", "batch_norm": True}},
    {"dataset": "mnist"},
    {"data_sha256": "1" * 64},
    {"train_share": 0.75},
    {"train_share": "official"},
    {"rows": 1000},
    {"seed": 1},
    {"split_seed": 1},
    {"scored_on": "validation"},
    {"features": {"scaling": "standard"}},
    {"features": {"input_size": 4}},
    {"features": {"pca": 8}},
    {"training": {"epochs": 49}},
    {"training": {"batch_size": 31}},
    {"training": {"optimizer": "sgd"}},
    {"training": {"optimizer": "sgd", "momentum": 0.9}},
    {"training": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True}},
    {"training": {"optimizer": "adamw"}},
    {"training": {"optimizer": "adamw", "weight_decay": 0.01}},
    {"training": {"learning_rate": 0.002}},
    {"training": {"schedule": "cosine"}},
    {"training": {"beta_1": 0.8}},
    {"training": {"beta_2": 0.99}},
    {"training": {"epsilon": 1e-7}},
    {"training": {"l2": 0.1}},
    {"training": {"label_smoothing": 0.1}},
    {"training": {"early_stopping_patience": 6}},
    {"training": {"early_stopping_patience": None}},
    {"training": {"validation": 0.2}},
    {"device": "cuda"},
    {"precision": "float64"},
    {"threads": 2},
    {"protocol": "native"},
    {"protocol": "native", "loop": "idiomatic"},
]


def test_key_changes_with_everything_that_matters() -> None:
    keys = {Trial.model_validate({**PLAIN, **change}).key for change in [{}, *CHANGES]}
    assert len(keys) == 1 + len(CHANGES)
    varied = {name for change in CHANGES for name in change}
    assert varied == set(Trial.model_fields), "a field is not covered here"


def test_key_survives_the_way_to_a_worker_and_back() -> None:
    for change in [{}, *CHANGES]:
        trial = Trial.model_validate({**PLAIN, **change})
        again = Trial.model_validate_json(json.dumps(json.loads(trial.canonical())))
        assert again == trial
        assert again.key == trial.key
    (registered,) = trials(architecture={"name": "conv", "options": {"width": 16}})
    assert Trial.model_validate_json(registered.canonical()).key == registered.key


def test_key_does_not_depend_on_how_a_number_is_written() -> None:
    assert len(trials(training={"learning_rate": [1, 1.0], "l2": [0, 0.0]})) == 1


def test_flat_holds_every_leaf_once() -> None:
    flat = Trial.model_validate({**PLAIN, "train_share": "official"}).flat()
    assert (flat["split"], flat["train_share"]) == ("official", None)
    assert flat["architecture"] == "ffn:64"
    assert flat["max_epochs"] == 50
    assert "epochs" not in flat, "epochs are those that were run"
    assert all(value is None or isinstance(value, str | int | float) for value in flat.values())


# The studies that come with samenet


def _first_of_the_space(study: Study) -> dict[str, list[Any]]:
    if study.search is None:
        return {}
    spaces = study.search.parameters.items()
    return study.search.leaves({name: one[0] if isinstance(one, list) else one.low for name, one in spaces})


@pytest.mark.parametrize("name", studies.shipped())
def test_shipped_study_is_sound(name: str) -> None:
    study = studies.read(name)
    assert study.name == name
    assert study.question.endswith("?")
    found = studies.trials(study, _first_of_the_space(study), backends.vocabulary())
    assert len({trial.key for trial in found}) == len(found) > 0
    networks = {trial.architecture.name for trial in found}
    assert {trial.backend for trial in found} == ({"sklearn", "keras", "torch"} if "ffn" in networks else {"torch"})
    for column in (study.recommend or "").split(","):
        assert not column or column in found[0].flat()
    digits = data.load("digits")
    for trial in {(t.train_share, t.features): t for t in found if t.train_share != "official"}.values():
        input_shape(trial, digits, len(cut(trial, digits).train))


def test_every_experiment_of_the_seed_is_shipped() -> None:
    seeds = {"splits", "iterations", "nodes", "depths", "combos", "activations", "mixed_activations", "input_size"}
    assert seeds | {"regularisation", "sensitivity", "quick", "full"} <= set(studies.shipped())


def test_empty_grid_is_refused() -> None:
    with pytest.raises(UserError, match="seeds: the list is empty"):
        expand([{"backend": ["plain"], "architecture": ["ffn:4"], "seed": []}], WORDS)
