"""One repository of the hub at one commit: what it holds, and its files, resumed where a download stopped.

Everything that can go wrong on the way becomes one sentence. huggingface_hub is imported when it is first needed: it takes a second,
and no verb but `fetch` needs it.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from dtr.errors import DiskFull, FetchFailed, MissingLibrary
from dtr.hub.manifest import Source


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it. `sha256` is known for large files only."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Listing:
    """The files of a repository at `commit`."""

    commit: str
    files: tuple[RemoteFile, ...]


class Remote(Protocol):
    """What fetching needs of a hub."""

    def listing(self, source: Source, revision: str | None) -> Listing:
        """Files at a revision; None is the current one."""

    def download(self, source: Source, file: RemoteFile, to: Path) -> None:
        """Append to `to` what it lacks of the file."""


class HuggingFace:
    """The hub, or another `endpoint` that speaks its protocol. Reads the token of `hf auth login` or HF_TOKEN."""

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = endpoint

    def listing(self, source: Source, revision: str | None) -> Listing:
        """See `Remote`. FetchFailed says what kept it."""
        with told(source, revision):
            info = (
                library()
                .HfApi(endpoint=self.endpoint)
                .repo_info(source.id, revision=revision, repo_type=source.kind, files_metadata=True, timeout=30)
            )
        files = (RemoteFile(f.rfilename, int(f.size or 0), f.lfs.sha256 if f.lfs else None) for f in info.siblings or ())
        return Listing(str(info.sha), tuple(files))

    def download(self, source: Source, file: RemoteFile, to: Path) -> None:
        """See `Remote`. FetchFailed says what kept it; what has come stays in `to`."""
        hub = library()
        url = hub.hf_hub_url(source.id, file.name, repo_type=source.kind, revision=source.pinned(), endpoint=self.endpoint)
        with told(source, source.revision, file.name), open(to, "ab") as out:
            transfer = importlib.import_module("huggingface_hub.file_download")
            headers = importlib.import_module("huggingface_hub.utils").build_hf_headers() | {"Accept-Encoding": "identity"}
            transfer.http_get(url, out, resume_size=out.tell(), headers=headers, expected_size=file.size, displayed_filename=file.name)


def library() -> ModuleType:
    """huggingface_hub; MissingLibrary when it is not installed."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise MissingLibrary("dtr fetch needs huggingface_hub: `make setup` installs it from envs/lock.txt.") from error


@contextlib.contextmanager
def told(source: Source, revision: str | None, file: str = "") -> Iterator[None]:
    """FetchFailed, in one sentence, for whatever the hub's library raises."""
    errors: Any = importlib.import_module("huggingface_hub.errors") if library() else None
    away = (errors.HTTPError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError)
    what = f"{source.id}{f' at {revision}' if revision else ''}"
    try:
        yield
    except errors.HfHubHTTPError as error:
        raise FetchFailed(answered(error, errors, source, what, revision, file)) from error
    except away as error:
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise FetchFailed(
            f"no way to the hub for {what} ({reason}): run this on a machine with network and bring the folder here, or connect; "
            "it goes on from there."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no room on the disk for {file} of {source.id}: free some space and run this again, it goes on from there."
            ) from error
        if error.errno is not None:
            raise
        raise FetchFailed(f"{file} of {source.id} broke off on the way: run this again, it goes on from there.") from error


def answered(error: Exception, errors: Any, source: Source, what: str, revision: str | None, file: str) -> str:
    """What the hub's answer means."""
    page = f"{'datasets/' if source.kind == 'dataset' else ''}{source.id}"
    status = getattr(getattr(error, "response", None), "status_code", "nothing")
    login = "log in with `hf auth login`"
    sentences = (  # a gated repository is a kind of one that is not found
        (errors.GatedRepoError, f"{source.id} is gated: accept its licence on the page of {page} at the hub, {login}, and run this again."),
        (errors.RevisionNotFoundError, f"{source.id} has no revision {revision}: `dtr fetch --resolve` prints the current one."),
        (
            errors.RepositoryNotFoundError,
            f"the hub has no {source.kind} {source.id}, or shows it only to its owners: correct `id`, or {login}.",
        ),
        (errors.RemoteEntryNotFoundError, f"{what} has no file {file}: correct the names in the configuration."),
        (errors.HfHubHTTPError, f"the hub answered {status} for {what} {file}: wait and run this again, it goes on from there."),
    )
    return next(sentence for kind, sentence in sentences if isinstance(error, kind))
