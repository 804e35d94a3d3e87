"""What `pipeline models` does with the catalogue: list, fetch, verify. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pipeline.errors import BadUsage, Unreachable, WrongBytes
from pipeline.fetching import Patience, Source, Watcher, download
from pipeline.model_files import FileReport, ModelsFolder, State, oddity, pin_of
from stages import catalogue
from stages.families import FAMILIES
from stages.published import Licence, PublishedFile, PublishedModel
from stages.weights import mend

Agree = Callable[[Licence], bool]


@dataclass(frozen=True)
class ModelReport:
    """One model of the catalogue, as it is on this machine."""

    model: PublishedModel
    files: tuple[FileReport, ...]
    accepted_utc: str | None

    @property
    def state(self) -> State:
        """Damaged if a file is, else missing if a file is, else there."""
        states = {file.state for file in self.files}
        order = (State.DAMAGED, State.MISSING, State.THERE)
        return next(state for state in order if state in states)

    @property
    def size_bytes(self) -> int | None:
        """Length of what is here, else what is known of it beforehand."""
        here = [file.size_bytes for file in self.files if file.size_bytes is not None]
        known = [file.file.size_bytes for file in self.files if file.file.size_bytes is not None]
        return sum(here or known) or None


@dataclass(frozen=True)
class Finding:
    """A file that is not what it should be, and what mends it."""

    what: str
    model: str
    file: str
    expected: str | None
    found: str | None
    mend: str


@dataclass(frozen=True)
class Verified:
    """What a look at every file gave. `unpinned` are files that nothing speaks for yet."""

    hashed: int = 0
    findings: list[Finding] = field(default_factory=list)
    unpinned: list[FileReport] = field(default_factory=list)


@dataclass(frozen=True)
class Fetched:
    """What a fetch brought, what was here before, and what ships with Nightshift."""

    brought: list[FileReport] = field(default_factory=list)
    here: list[FileReport] = field(default_factory=list)
    shipped: list[PublishedModel] = field(default_factory=list)


def listed(folder: ModelsFolder) -> Iterator[ModelReport]:
    """Give every model of the catalogue; hashes what is there."""
    accepted = folder.accepted()
    for model in catalogue.CATALOGUE.values():
        files = tuple(folder.look_at(model))
        yield ModelReport(model, files, accepted.get(model.licence.key))


def verify(folder: ModelsFolder) -> Verified:
    """Hash everything that is there or ships, and name what is damaged, incomplete or unproven."""
    reports = {model.name: folder.look_at(model) for model in catalogue.CATALOGUE.values()}
    begun = [
        model
        for name, model in catalogue.CATALOGUE.items()
        if model.ships or any(file.state is not State.MISSING for file in reports[name])
    ]
    used = {name for model in begun for name in (model.name, *model.needs)}
    found = Verified(
        hashed=sum(file.found is not None for files in reports.values() for file in files)
    )
    for file in (file for name in reports if name in used for file in reports[name]):
        if file.state is not State.THERE:
            found.findings.append(_finding(file))
        elif file.expected is None:
            found.unpinned.append(file)
    return found


def _finding(report: FileReport) -> Finding:
    what = "missing" if report.state is State.MISSING else "changed"
    return Finding(
        what="unreadable" if report.trouble else what,
        model=report.model.name,
        file=str(report.path),
        expected=report.expected,
        found=report.trouble or report.found,
        mend=mend(report.model.name),
    )


def chosen(names: Sequence[str]) -> list[PublishedModel]:
    """Return the models of these names, what each needs before it.

    Args:
        names: of models, or of families of Essentia's: a backbone with all heads on it.

    Raises:
        BadUsage: there is no such model.
    """
    found: dict[str, PublishedModel] = {}
    for name in (one for given in names for one in _of_family(given) or [given]):
        model = catalogue.CATALOGUE.get(name)
        if model is None:
            raise BadUsage(
                f"there is no model {name} in the catalogue; pipeline models list shows it: "
                f"{', '.join(catalogue.CATALOGUE)}. A family brings a backbone with all of its "
                f"heads: {', '.join(FAMILIES)}."
            )
        for one in (*model.needs, name):
            found[one] = catalogue.CATALOGUE[one]
    return list(found.values())


def _of_family(name: str) -> list[str]:
    """Return the models of a family, none if it is not the name of one."""
    if name not in FAMILIES:
        return []
    backbone = FAMILIES[name].backbone
    return [
        backbone,
        *(one.name for one in catalogue.CATALOGUE.values() if one.needs == (backbone,)),
    ]


def agreed(
    models: Sequence[PublishedModel], folder: ModelsFolder, *, agree: Agree
) -> list[Licence]:
    """Return the licences of these models that were accepted just now, each asked for once.

    Raises:
        BadUsage: one was not accepted.
    """
    known = folder.accepted()
    asked = {model.licence.key: model.licence for model in models}
    new = [licence for key, licence in asked.items() if key not in known]
    for licence in new:
        if not agree(licence):
            raise BadUsage(
                f"the licence {licence.key} was not accepted, and nothing was brought. Having read "
                "it, type yes, or give the same command with --accept-licence."
            )
    return new


def fetch(
    names: Sequence[str],
    *,
    folder: ModelsFolder,
    agree: Agree,
    watcher: Watcher,
    base_url: str | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Bring the files of models that are not here, or damaged; `base_url` is of a mirror.

    Raises:
        BadUsage: an unknown name, a mirror that is no http address, a licence not accepted.
        Unreachable: no network; names all that is still to be fetched.
        WrongBytes: an address gave another file.
        Unfit: the address or the disk.
    """
    if base_url is not None and not _is_http(base_url):
        raise BadUsage(f"{base_url}: a mirror is an address that begins with https:// or http://.")
    models = chosen(names)
    done = Fetched(shipped=[model for model in models if model.ships])
    looked = [report for model in models if not model.ships for report in folder.look_at(model)]
    if not looked:
        return done
    to_come = [report for report in looked if report.state is not State.THERE]
    new = agreed([report.model for report in to_come], folder, agree=agree)
    with folder.held(say=watcher.say):
        folder.accept(*new)
        for before in looked:
            report = folder.look(before.model, before.file)  # another fetch may have brought it
            if report.state is State.THERE:
                _pin_what_is_here(report, folder)
                done.here.append(report)
                continue
            try:
                _bring(report, folder, base_url, patience or Patience(), watcher)
            except Unreachable as error:
                brought = {one.path for one in done.brought}
                wanted = tuple(one.file.url for one in to_come if one.path not in brought)
                raise Unreachable(error.address, error.why, wanted) from error
            done.brought.append(folder.look(before.model, before.file))
    return done


def _is_http(url: str) -> bool:
    return urlsplit(url).scheme in {"http", "https"} and bool(urlsplit(url).hostname)


def _pin_what_is_here(report: FileReport, folder: ModelsFolder) -> None:
    """Take what somebody put here by hand for the first that was met."""
    if report.expected is None and report.found and not oddity(report.path, report.file.name):
        folder.pin(report.model, report.file, sha256=report.found)


def _bring(
    report: FileReport,
    folder: ModelsFolder,
    base_url: str | None,
    patience: Patience,
    watcher: Watcher,
) -> None:
    model, file = report.model, report.file
    part = folder.part(model, file)
    url = file.url if base_url is None else mirrored(base_url, model, file)
    watcher.begin(file.name)
    try:
        sha256 = download(Source(url, report.expected), part, patience=patience, watcher=watcher)
    except WrongBytes as error:
        if file.sha256 is not None:
            raise
        raise WrongBytes(url, f"{error.problem}; {_pinned_here(report)}") from error
    if report.expected is None and (odd := oddity(part, file.name)):
        part.unlink()
        raise WrongBytes(url, f"what came {odd}")
    folder.finish(model, file, sha256=sha256)


def _pinned_here(report: FileReport) -> str:
    return (
        "its hash was pinned when it first came. Should its owner have published it anew, remove "
        f"{pin_of(report.path)} and give the same command again"
    )


def mirrored(base_url: str, model: PublishedModel, file: PublishedFile) -> str:
    """Return the address of a file on a mirror, which is laid out as the models folder is."""
    return f"{base_url.rstrip('/')}/{model.folder}/{file.name}"
