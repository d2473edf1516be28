"""Jobs and cron jobs."""

from __future__ import annotations

from tables.cell import Cell, Moving, Object
from tables.duration import human_duration, instant
from tables.fields import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    NONE,
    UNSET,
    condition,
    containers,
    images,
    items,
    mapping,
    path,
    pod_spec,
    since,
    spec,
    status,
    terminating,
)
from tables.kinds.apps import SELECTOR, selector
from tables.printer import Column, KindTable


def _completions(job: Object) -> Cell:
    succeeded, wanted = status(job).get("succeeded") or 0, spec(job).get("completions")
    if wanted is not None:
        return f"{succeeded}/{wanted}"
    parallelism = spec(job).get("parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(job: Object) -> Cell:
    start = instant(status(job).get("startTime") or "")
    if start is None:
        return ""
    end = instant(status(job).get("completionTime") or "")
    return Moving(start) if end is None else human_duration(end - start)


def _has(job: Object, kind: str) -> bool:
    found = condition(job, kind)
    return found is not None and found.get("status") == "True"


def _status(job: Object) -> Cell:
    if _has(job, "Complete"):
        return "Complete"
    if _has(job, "Failed"):
        return "Failed"
    if terminating(job):
        return "Terminating"
    if _has(job, "Suspended"):
        return "Suspended"
    return "FailureTarget" if _has(job, "FailureTarget") else "Running"


def _status_with_success_criteria(job: Object) -> Cell:
    text = _status(job)
    return "SuccessCriteriaMet" if text == "Running" and _has(job, "SuccessCriteriaMet") else text


JOBS = KindTable(
    kind="Job",
    resources=("jobs.v1.batch",),
    columns=(
        NAME,
        Column("Status", _status, since="1.30", until="1.33"),
        Column("Status", _status_with_success_criteria, since="1.34"),
        Column("Completions", _completions),
        Column("Duration", _duration),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
)


def _job(cron_job: Object) -> Object:
    """The template of a cron job's jobs, which has a spec as a job has."""
    return mapping(spec(cron_job), "jobTemplate")


def _suspend(cron_job: Object) -> Cell:
    suspend = spec(cron_job).get("suspend")
    return UNSET if suspend is None else "True" if suspend else "False"


CRON_JOBS = KindTable(
    kind="CronJob",
    resources=("cronjobs.v1.batch", "cronjobs.v1beta1.batch", "cronjobs.v2alpha1.batch"),
    columns=(
        NAME,
        Column("Schedule", path("spec.schedule")),
        Column("Timezone", path("spec.timeZone", NONE), since="1.30"),
        Column("Suspend", _suspend, "boolean"),
        Column("Active", lambda cron_job: len(items(status(cron_job), "active")), "integer"),
        Column("Last Schedule", lambda cron_job: since(status(cron_job).get("lastScheduleTime"), NONE)),
        AGE,
        Column("Containers", lambda cron_job: containers(pod_spec(_job(cron_job))), priority=1),
        Column("Images", lambda cron_job: images(pod_spec(_job(cron_job))), priority=1),
        Column("Selector", lambda cron_job: selector(_job(cron_job)), priority=1),
    ),
)

TABLES = (JOBS, CRON_JOBS)
