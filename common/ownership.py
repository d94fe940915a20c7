"""Which process runs which trial, where several share one run's directory: claim files with an owner and a heartbeat.

``claims/owner-ID`` says who a process is, and is touched every few seconds. A claim, ``claims/KEY``, is a hard link to
it: made by exactly one process, whole from its first moment, on network file systems too. Who is gone (its process has
ended, or on another machine its heartbeat has stood still) loses its claims to whoever renames its owner file first.
That name is never used twice, so that no two processes clear up the same claims, and none clears up a living one's.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from config import UserError

BEAT_S = 5.0
LEASE_S = 60.0
"""How long a heartbeat on another machine may stand still; by the clock of who looks, as clocks differ."""
_OWNER = "owner-"
_TAKEN = "~"
_START_TOLERANCE_S = 5.0


@dataclass(frozen=True)
class Owner:
    """A process that claims trials.

    Attributes
    ----------
    place : what its process number is unique in: a boot of a machine and a namespace of processes.
    started : when the process started, in seconds since 1970: another may have its number by now.
    """

    id: str
    host: str
    place: str
    pid: int
    started: float

    @classmethod
    def here(cls) -> Self:
        """Return this process, under a name of its own."""
        import psutil

        pid = os.getpid()
        return cls(uuid.uuid4().hex, socket.gethostname(), _place(), pid, psutil.Process(pid).create_time())

    @classmethod
    def read(cls, path: Path) -> tuple[Self | None, int]:
        """Return whose file this is, None where it does not say, and its last heartbeat.

        Raises
        ------
        FileNotFoundError
            Where there is none.
        """
        with path.open(encoding="utf-8") as file:  # network file systems look at a file afresh when it is opened
            beat = os.fstat(file.fileno()).st_mtime_ns
            try:
                fields = json.load(file)
                return cls(*(kind(fields[name]) for name, kind in _FIELDS.items())), beat
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                return None, beat

    def lives(self) -> bool:
        """Say whether the process, which is of this place, is still there."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _START_TOLERANCE_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, ValueError, OverflowError):
            return False
        except psutil.AccessDenied:
            return True


def at_work(folder: Path) -> list[Owner]:
    """Return the owners in a run's folder of claims that seem to live; on another machine, by this one's clock."""
    living = []
    for path in folder.glob(f"{_OWNER}*"):
        with suppress(FileNotFoundError):
            owner, beat = Owner.read(path)
            recent = time.time() - beat / 1e9 < LEASE_S
            if owner is not None and (owner.lives() if owner.place == _place() else recent):
                living.append(owner)
    return living


_FIELDS: dict[str, Callable[[Any], Any]] = {"id": str, "host": str, "place": str, "pid": int, "started": float}


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116
    except OSError:
        return socket.gethostname()


@dataclass
class _Claim:
    owner: str
    since: float


class Claims:
    """The trials that this process has taken to run; a context manager that gives back what is left at its end.

    Parameters
    ----------
    folder : ``claims/`` of the run; there only while somebody is at work.
    clear : called with the key of a trial that its owner did not finish, to remove what is left half done.
    """

    def __init__(
        self, folder: Path, clear: Callable[[str], None], beat_s: float = BEAT_S, lease_s: float = LEASE_S
    ) -> None:
        self._folder, self._clear, self._beat_s, self._lease_s = folder, clear, beat_s, lease_s
        self._held: dict[str, _Claim] = {}
        self._beats: dict[str, tuple[int, float]] = {}
        self._neighbor_seen = -1.0
        self._over = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._enroll()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._over.set()
        self._heart.join()
        with suppress(OSError):  # a disk that takes nothing more is reported by what was to be written
            for key in list(self._held):
                if self.holds(key):
                    self._clear(key)
                self.release(key)
            self._file(self._owner.id).unlink(missing_ok=True)
            self._folder.rmdir()  # which fails while others are at work

    def take(self, key: str) -> bool:
        """Claim a trial, and say whether it is ours now; not where another process has it."""
        with self._lock:
            if self._over.is_set():
                return False
            try:
                os.link(self._file(self._owner.id), self._folder / key)
            except FileExistsError:
                return False
            except FileNotFoundError:  # taken for gone, as after a machine's sleep
                self._enroll()
                return False
            except OSError as error:
                raise UserError(
                    f"results: {self._folder} cannot hold claims, which are hard links ({error.strerror}); give a "
                    "folder on another file system, with --results DIR"
                ) from error
            self._held[key] = _Claim(self._owner.id, time.monotonic())
        return True

    def holds(self, key: str) -> bool:
        """Say whether a trial that was taken is still ours: another may have taken this process for gone."""
        if key not in self._held:
            return False
        try:
            owner, _ = Owner.read(self._folder / key)
        except FileNotFoundError:
            return False
        return owner is not None and owner.id == self._held[key].owner

    def release(self, key: str) -> None:
        """Give a trial back."""
        if self.holds(key):
            (self._folder / key).unlink(missing_ok=True)
        self._held.pop(key, None)

    def accompanied(self, key: str) -> bool:
        """Say whether another process of this run was at work on this machine since the trial was taken."""
        self.look_round()
        return key in self._held and self._neighbor_seen >= self._held[key].since

    def look_round(self) -> list[Owner]:
        """Return the others at work, having freed the claims of those that are gone."""
        living = []
        for path in self._owner_files():
            taker = path.name.partition(_TAKEN)[2]
            with suppress(FileNotFoundError):
                if taker:  # somebody clears up after it, or did until it was killed too
                    if not self._file(taker).exists():
                        self._bury(path)
                elif (owner := self._alive(path)) is None:
                    self._bury(path)
                else:
                    living.append(owner)
                    if owner.place == self._owner.place:
                        self._neighbor_seen = time.monotonic()
        return living

    def _enroll(self) -> None:
        self._owner = Owner.here()
        while True:
            self._folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # the last of others to leave may remove the folder in between
                with self._file(self._owner.id).open("x", encoding="utf-8") as file:
                    json.dump(asdict(self._owner), file)
                return

    def _file(self, owner: str) -> Path:
        return self._folder / f"{_OWNER}{owner}"

    def _owner_files(self) -> list[Path]:
        """Return the files of all owners but this one."""
        own = self._file(self._owner.id).name
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            return [Path(entry.path) for entry in entries if entry.name.startswith(_OWNER) and entry.name != own]
        return []

    def _beat(self) -> None:
        while not self._over.wait(self._beat_s):
            with self._lock, suppress(OSError):
                try:
                    os.utime(self._file(self._owner.id))
                except FileNotFoundError:
                    self._enroll()
            with suppress(OSError):
                self.look_round()

    def _alive(self, path: Path) -> Owner | None:
        """Return the owner whose file this is; None where it is gone."""
        owner, beat = Owner.read(path)
        if owner is not None and owner.place == self._owner.place:
            return owner if owner.lives() else None
        before, since = self._beats.get(path.name, (None, 0.0))
        if before != beat:
            self._beats[path.name] = (beat, time.monotonic())
        elif time.monotonic() - since > self._lease_s:
            return None
        return owner or Owner("", "unknown", "", 0, 0.0)

    def _bury(self, path: Path) -> None:
        """Free the claims of an owner that is gone, unless another process does."""
        gone = path.name.removeprefix(_OWNER).partition(_TAKEN)[0]
        mine = self._folder / f"{_OWNER}{gone}{_TAKEN}{self._owner.id}"
        path.rename(mine)  # of two that try, the second finds nothing to rename
        with os.scandir(self._folder) as entries:
            claims = [Path(entry.path) for entry in entries if not entry.name.startswith(_OWNER)]
        for claim in claims:
            with suppress(FileNotFoundError):
                owner, _ = Owner.read(claim)
                if owner is not None and owner.id == gone:
                    self._clear(claim.name)
                    claim.unlink()
        mine.unlink()
