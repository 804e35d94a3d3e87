"""The night: scan, recover, plan, then lane after lane until nothing is left to do."""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psutil

from pipeline import __version__, artifacts, lock, surroundings
from pipeline.allowance import Allowance
from pipeline.artifacts import OutputFolder, RunLog
from pipeline.child import Child
from pipeline.config import RunConfig
from pipeline.errors import LedgerDamaged, PipelineError, Unfit
from pipeline.events import Emit, Event
from pipeline.finding import Finding
from pipeline.forecast import Forecast
from pipeline.inspection import notice
from pipeline.journal import Journal
from pipeline.ledger import Ledger
from pipeline.ledger.book import now_utc
from pipeline.ledger.connect import FILE_NAME as LEDGER_NAME
from pipeline.ledger.outlook import Left
from pipeline.ledger.speeds import Kind, Speed
from pipeline.machine import Machine
from pipeline.manifest import Wrong
from pipeline.monitoring.monitor import Monitor
from pipeline.night import Night
from pipeline.pace import Pace
from pipeline.passes import Row, rows_of
from pipeline.placing import clear_replaced
from pipeline.probing import Probing
from pipeline.recipe import recipes
from pipeline.recovery import recover
from pipeline.report import Report
from pipeline.scan import display
from pipeline.signals import Signals
from pipeline.stopping import Stopping
from pipeline.threads import budget, variables
from pipeline.todo import Todo
from pipeline.working import Working
from stages.base import JsonValue

_SHOWN_ONLY = ("progress", "todo", "todo_in_all")  # shown, not logged
_TURN_S = 1.0


@dataclass(frozen=True)
class Aside:
    """A damaged ledger: what SQLite said of it, and where it is kept."""

    cause: str
    kept: Path


def run(config: RunConfig, *, emit: Emit) -> Report:
    """Do one run: everything that the dataset still needs, until it is done or stopped.

    Raises:
        DatasetBusy: another run holds the dataset.
        Unfit: the surroundings do not allow it.
    """
    signals = Signals()
    try:
        surroundings.check(config.out)
        artifacts.make_folders(config.out)
        held = lock.acquire(
            config.out, since_utc=now_utc(), wait_for_orphan_s=config.limits.orphan_wait_s
        )
        out = OutputFolder(config.out)
        out.prepare()
        try:
            return _run(config, out, held, signals, emit)
        except LedgerDamaged as error:
            aside = Aside(error.cause, artifacts.set_aside(error.path))
            return _run(config, out, held, signals, emit, aside)
    except OSError as error:
        # Whatever concerns one track is caught where it happens: this is the disk or the folder.
        raise Unfit(
            f"{error}. The run stopped; finished work is kept. Mend it, or name another --out, and "
            "run the same command again."
        ) from error
    finally:
        signals.restore()


def _run(
    config: RunConfig,
    out: OutputFolder,
    held: lock.HeldLock,
    signals: Signals,
    emit: Emit,
    aside: Aside | None = None,
) -> Report:
    path, machine = config.out / LEDGER_NAME, Machine.read(config.out)
    # Left by a crash, restored or changed by another program: then it is looked through first.
    examine = machine.ledger != Ledger.seal(path)
    with Ledger.open(path, order=config.order, examine=examine) as ledger:
        report = _run_with(ledger, machine, config, out, held, signals, emit, aside)
    machine.ledger = cast("list[JsonValue] | None", Ledger.seal(path))
    machine.save(artifacts.replace_json)
    return report


def _run_with(
    ledger: Ledger,
    machine: Machine,
    config: RunConfig,
    out: OutputFolder,
    held: lock.HeldLock,
    signals: Signals,
    emit: Emit,
    aside: Aside | None,
) -> Report:
    asked = recipes(config, machine)
    threads = machine.threads(asked=config.threads, budget=budget())
    machine.dataset = os.fsdecode(config.dataset)
    machine.save(artifacts.replace_json)
    run_id = ledger.begin_run(
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        settings=_settings(config, threads),
    )
    log = RunLog(out, run_id)

    def emit_and_log(event: Event) -> None:
        if event.kind not in _SHOWN_ONLY:
            log.write({"utc": now_utc(), "event": event.kind, **event.facts})
        emit(event)

    def learnt() -> dict[Kind, Speed]:
        planned = [recipe.planned() for recipe in asked if recipe.stage in config.selected]
        return ledger.speeds.learnt(planned, device=config.device)

    night = Night(
        config=config,
        out=out,
        ledger=ledger,
        lock=held,
        run_id=run_id,
        recipes=asked,
        threads=threads,
        emit=emit_and_log,
        clock=time.monotonic,
        selector=selectors.DefaultSelector(),
        environment={**config.environment, **variables(threads)},
        memory_bytes=psutil.virtual_memory().total,
        allowance=Allowance.of(config, Pace(learnt, tracks_at_once=threads)),
        machine=machine,
    )
    if aside is not None:
        night.tell("ledger_damaged", cause=aside.cause, kept=str(aside.kept))
    try:
        report = Supervisor(night, signals).night()
        ledger.end_run(run_id, exit_code=report.exit_code)
        return report
    except PipelineError as error:
        with suppress(PipelineError):  # the first trouble is the one to tell
            ledger.end_run(run_id, exit_code=error.exit_code)
        raise
    finally:
        log.close()


def _settings(config: RunConfig, threads: int) -> str:
    stages = {name: config.stage_settings[name].model_dump(mode="json") for name in config.selected}
    asked = {
        "until": str(config.until) if config.until is not None else None,
        "limit": config.limit,
        "order": config.order,
        "overlap": config.overlap,
    }
    return json.dumps({"stages": stages, "device": config.device, "threads": threads, **asked})


class Supervisor:
    """The loop that keeps scan, probe and lane moving, and hears signals between their steps."""

    def __init__(self, night: Night, signals: Signals) -> None:
        self._night = night
        self._probing = Probing(night)
        self._rows: list[Row] = []
        self._signals = signals
        signals.kill = self._kill_children
        self._stopping = Stopping(night, self._signals)
        self._forecast = Forecast(night)
        self._journal = Journal(night)
        self._monitor = Monitor(night)
        self._finding = Finding(night)
        self._todo = Todo(night)
        self._settled = False

    def night(self) -> Report:
        """Work until nothing is left or something asks to stop.

        Every way out ends the children, and waits for them, before the lock can go.
        """
        night = self._night
        night.selector.register(self._signals.wake, selectors.EVENT_READ)
        try:
            self._recover()
            self._rows = [
                Row(night, self._probing, passes, at_work=self._at_work)
                for passes in rows_of(night)
            ]
            self._work()
            return self._report()
        finally:
            self._kill_children()
            self._monitor.close()
            night.selector.close()

    def _kill_children(self) -> None:
        for child in list(self._night.children):
            child.end()

    def _recover(self) -> None:
        night = self._night
        night.tell(
            "run_started",
            run=night.run_id,
            dataset=display(os.fsencode(night.config.dataset)),
            threads=night.threads,
        )
        for done in recover(night.out):
            night.tell("recovered", what=done)
        interrupted = night.ledger.queue.interrupt_running()
        if interrupted:
            night.tell("interrupted_found", jobs=interrupted)
        night.ledger.files.retry_problems()
        lost, found = notice(night.out, night.lock, night.ledger.keeping)
        for one in found:
            if one.what is not Wrong.MANIFEST_MISSING:
                night.tell("output_changed", folder=one.folder, file=one.file, how=one.detail)
        if lost:
            night.tell("outputs_missing", jobs=lost)
        night.ledger.queue.requeue(night.planned())
        for recipe in night.recipes:
            if recipe.blocked is not None and recipe.stage in night.config.selected:
                night.block(recipe.stage, str(recipe.blocked))

    def _work(self) -> None:
        night = self._night
        while at_work := self._at_work():
            night.rows_at_work = len(at_work)
            if self._stopping.due():
                for working in at_work:
                    working.leave()
            leave_by = self._stopping.leave_by
            waiting = True
            if leave_by is None:
                waiting = not self._turn()
            elif not any(one.running for one in at_work) or night.clock() > leave_by:
                for working in at_work:
                    working.kill()
                return
            self._listen(_TURN_S if waiting else 0.0)
            night.lock.check()
            for working in at_work:
                working.check_hang()
            self._probing.check_hang()
            self._journal.look()
            self._monitor.look()

    def _at_work(self) -> list[Working]:
        """Return the pass of each row that has one."""
        return [row.working for row in self._rows if row.working is not None]

    def _turn(self) -> bool:
        """Find more, hand out more, go on to the next pass where one is done; say whether to hurry."""
        if self._finding.take():
            # A file that was changed keeps its number, below those of new ones met before it.
            self._probing.look_again()
        more = not self._night.allowance.full and self._probing.feed()
        finding = more or self._probing.busy or not self._finding.over
        for row in self._rows:
            row.look()
            row.feed()
        self._forecast.look(last=not finding)
        self._todo.look(self._at_work(), finding=finding)
        if finding:
            return not self._finding.over
        if not any(working.busy for working in self._at_work()):
            self._settle()
        done = [row for row in self._rows if row.idle and self._done(row)]
        for row in done:
            row.retire()
        return bool(done) or not self._at_work()  # nobody is left to be heard

    def _listen(self, timeout_s: float) -> None:
        for key, _ in self._night.selector.select(timeout_s):
            child = key.data
            if child is None:
                self._signals.drain()
            elif child not in self._night.children:
                continue  # ended by what was heard just before
            elif key.fileobj is child.output:
                if not child.drain():
                    self._night.selector.unregister(child.output)
            else:
                self._hear(child)

    def _hear(self, child: Child) -> None:
        if self._probing.owns(child):
            self._probing.hear(child)
        for row in self._rows:
            if row.working is not None and row.working.owns(child):
                row.working.hear(child)

    def _settle(self) -> None:
        """All is probed and nothing in hand: clear what was replaced."""
        if not self._settled:
            self._settled = True
            clear_replaced(self._night)

    def _done(self, row: Row) -> bool:
        """Say whether a pass has nothing left, and nothing to wait for."""
        others = [other for other in self._rows if other is not row]
        if row.takes_stems() and any(other.gives_stems() for other in others):
            return False
        return row.nothing_left()

    def _report(self) -> Report:
        night = self._night
        counts = night.ledger.jobs.outcome(night.run_id, night.config.selected)
        self._probing.end()
        left = Left(0, 0)
        if self._stopping.cut_short:
            left = night.ledger.outlook.left(night.run_id, night.config.selected)
        stopped = self._stopping.why(left)
        report = Report(
            run_id=night.run_id,
            done=counts.done_now,
            already_done=counts.done - counts.done_now,
            failed=counts.failed,
            blocked=dict(night.blocked),
            no_stage_started=set(night.config.selected) <= set(night.blocked),
            unreadable=counts.unreadable,
            tracks=counts.tracks,
            stopped_by=self._signals.stopping,
            stopped_for=stopped[0] if stopped else None,
            why=stopped[1] if stopped else None,
            left=left.tracks,
            unprobed=left.unprobed,
        )
        night.tell(
            "run_ended",
            exit_code=report.exit_code,
            done=report.done,
            failed=report.failed,
            load=self._monitor.summary(),
        )
        return report
