"""Fetching: mirrors in order, and a file gets its name only when it is complete and checked."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from common import checksums
from config import UserError

log = logging.getLogger(__name__)

PROBE_SECONDS = 6.0
CONNECT_SECONDS = 3.0
READ_SECONDS = 15.0


class FetchError(UserError):
    """No mirror could deliver a file, or there is no place to put it."""


def fetch(name: str, mirrors: Sequence[str], folder: Path, sha256: str | None, install: Callable[[Path], None]) -> None:
    """Fetch a file from the first mirror that delivers it whole and right.

    Processes that fetch the same file at once each work in a scratch folder of their own.

    Parameters
    ----------
    name : str
        File name, appended to each mirror's address.
    mirrors : sequence of str
        Base addresses ending in a slash, tried in order.
    folder : Path
        Folder of the data set; created if missing, and left unchanged unless `install` puts something there.
    sha256 : str or None
        SHA-256 that the served bytes must have, None where only their content can be checked.
    install : callable
        Takes the path of the fetched file, checks its content (a UserError means: try the next mirror), and moves
        what is wanted to its place by renaming.

    Raises
    ------
    FetchError
        If no mirror answers within `PROBE_SECONDS`, none delivers the right content, or the folder is not writable.
    """
    urls = [mirror + name for mirror in mirrors]
    if not _any_answers(urls):
        hosts = ", ".join(str(urlsplit(url).hostname) for url in urls)
        raise FetchError(f"{name}: no answer from {hosts} within {PROBE_SECONDS:g} s")
    failures = []
    for url in urls:
        with _scratch(folder) as scratch:
            fetched = Path(scratch) / name
            try:
                _download(url, fetched, sha256)
                install(fetched)
                return
            except (UserError, OSError) as error:  # what requests raises is an OSError
                log.info("%s: %s", url, error)
                failures.append(f"{url}: {error}")
    raise FetchError(f"{name}: no mirror delivered it: " + "; ".join(failures))


def _scratch(folder: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-")
    except OSError as error:
        raise FetchError(f"{folder}: cannot be written ({error.strerror}): choose another with --data-dir") from error


def _any_answers(urls: Sequence[str]) -> bool:
    """Whether any address answers at all within `PROBE_SECONDS`.

    Threads, since looking up a host name without a network can hang far beyond any timeout that requests is given.
    """
    from pooch import HTTPDownloader

    probe = HTTPDownloader(timeout=PROBE_SECONDS)
    settled = threading.Condition()
    outcomes: list[bool] = []

    def ask(url: str) -> None:
        try:
            probe(url, None, None, check_only=True)  # any status counts: some servers refuse HEAD
            answered = True
        except OSError:
            answered = False
        with settled:
            outcomes.append(answered)
            settled.notify()

    for url in urls:
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    with settled:
        settled.wait_for(lambda: any(outcomes) or len(outcomes) == len(urls), PROBE_SECONDS)
        return any(outcomes)


def _download(url: str, target: Path, sha256: str | None) -> None:
    from pooch import HTTPDownloader, file_hash

    log.info("fetching %s", url)
    with target.open("wb") as stream:
        HTTPDownloader(timeout=(CONNECT_SECONDS, READ_SECONDS), chunk_size=1 << 18)(url, stream, None)
        stream.flush()
        os.fsync(stream.fileno())
    checksums.check(target, file_hash(str(target)), sha256)
