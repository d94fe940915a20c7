"""``compare.py tune``: search each framework's best under one budget, then train and test it over seeds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from commands.arguments import Parser, add_conduct, positive, seconds, terminal_width
from commands.run import show, write_report
from commands.settings import add_flags, cores, given, leaves

if TYPE_CHECKING:
    from common.studies import Plan
    from config import Study, Vocabulary


def main(argv: Sequence[str]) -> int:
    """Run what is left of a search and return the exit status."""
    arguments = _parser().parse_args(argv)
    import backends
    from common import studies

    quiet = arguments.quiet or arguments.json
    vocabulary = backends.vocabulary(arguments.allow_code or arguments.arch is not None)
    work = _plan(studies.read(arguments.study), arguments, vocabulary)
    if work.note:
        print(f"compare.py: warning: {work.note}", file=sys.stderr)
    from common import candidates, tune
    from common.runner import Options, failures

    options = Options(
        arguments.results, arguments.data_dir, timeout_s=arguments.timeout, overwrite=arguments.overwrite, quiet=quiet
    )
    found = tune.tune(
        work, options, vocabulary, lambda line: None if quiet else print(line, file=sys.stderr, flush=True)
    )
    if not arguments.json:
        print(candidates.render(found, terminal_width()))
    show(found.run, found.records, arguments.json, work.note)
    if not arguments.no_report:
        write_report(found.run, arguments.data_dir, quiet)
    return 1 if failures(found.records) or found.without else 0


def _parser() -> Parser:
    parser = Parser(
        "Search each contender's best under the same budget, by validation figures alone; then train and test it over "
        "fresh seeds.",
        "tune",
    )
    parser.add_argument(
        "study", metavar="STUDY", help="a shipped study with a search, such as tune_ffn, or a JSON file"
    )
    budget = parser.add_argument_group("what each contender may spend (this replaces the study's budget)")
    budget.add_argument("--trials", type=positive, metavar="N", help="candidates")
    budget.add_argument("--max-seconds", type=seconds, metavar="S", help="seconds of trials")
    budget.add_argument("--max-epochs", type=positive, metavar="N", help="epochs of training")
    trained = parser.add_argument_group("what is trained (a value given here is not searched)")
    add_flags(trained, seeds="fresh seeds of the test (the search has a seed of its own)")
    add_conduct(parser.add_argument_group("how it is run"), "search")
    parser.add_places()
    return parser


def _plan(study: Study, arguments: argparse.Namespace, vocabulary: Vocabulary) -> Plan:
    from common import studies, tune
    from config import UserError

    over = given(arguments)
    seeds = over.pop("seeds", None)
    if study.search is None:
        raise UserError(f"study: {study.name} has no search; give it to compare.py --study")
    limits = {"trials": arguments.trials, "seconds": arguments.max_seconds, "epochs": arguments.max_epochs}
    update: dict[str, Any] = {"seeds": seeds or study.search.seeds}
    if any(limits.values()):
        update |= {"budget": limits}
    study = studies.read({**study.model_dump(), "search": {**study.search.model_dump(), **update}})
    return tune.contenders(study, leaves(over), vocabulary, arguments.data_dir, {"threads": [cores(1)]})
