"""ICA's JSON: one function for each kind of body, with every field which ICA's own document requires."""

from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from local.simulator.model import (
    JOB_STATUS_CHANGED,
    Channel,
    Datum,
    IcaError,
    Item,
    Job,
    Notice,
    Project,
    Subscription,
)
from local.simulator.switches import Switches

Json = dict[str, Any]

TENANT, OWNER, REGION, COUNTRY, WORKGROUP = (
    str(uuid5(NAMESPACE_URL, f"icav2-simulator/{kind}"))
    for kind in ("tenant", "owner", "region", "country", "workgroup")
)
TAG_KINDS = ("technical", "user", "connector", "runIn", "runOut", "reference")
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
EVENT_CODES = {
    "ICA_EXEC_028": "Analysis status changed",
    "ICA_DATA_100": "Data status changed",
    JOB_STATUS_CHANGED: "Job status changed",
}


def moment(time: datetime | None) -> str | None:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if time else None


def _record(record_id: str, created: datetime, modified: datetime | None = None) -> Json:
    """The fields with which most of ICA's records begin."""
    return {
        "id": record_id,
        "timeCreated": moment(created),
        "timeModified": moment(modified or created),
        "ownerId": OWNER,
        "tenantId": TENANT,
        "tenantName": "simulator",
    }


REGION_BODY: Json = _record(REGION, EPOCH) | {
    "code": "ap-southeast-2",
    "country": _record(COUNTRY, EPOCH) | {"code": "AU", "name": "Australia", "region": "Oceania"},
    "cityName": "Sydney",
}
USER_BODY: Json = _record(OWNER, EPOCH) | {
    "username": "simulator@example.com",
    "email": "simulator@example.com",
    "firstname": "Service",
    "lastname": "User",
    "active": True,
    "tenantAdministrator": False,
    "emailVerified": True,
    "twoFactorAuthentication": False,
}


WORKGROUP_BODY: Json = _record(WORKGROUP, EPOCH) | {"name": "sequencing", "description": "sequencing", "active": True}


def permission(it: Project, switches: Switches) -> Json:
    """What the token's user may do in a project."""
    member: Json = {
        "USER": {"user": USER_BODY},
        "EMAIL": {"emailAddress": USER_BODY["email"], "invitationAccepted": True, "user": USER_BODY},
        "WORKGROUP": {"workgroup": WORKGROUP_BODY},
    }[switches.permission_of]
    return _record(str(uuid5(UUID(it.id), "permission")), it.created) | {
        "membershipType": switches.permission_of,
        "roleProject": switches.project_role,
        "roleFlow": "NONE",
        "roleBase": "NONE",
        "roleBench": "NONE",
        "uploadAllowed": switches.upload_allowed,
        "downloadAllowed": True,
        **member,
    }


def project(it: Project) -> Json:
    return _record(it.id, it.created) | {
        "urn": f"urn:ilmn:ica:project:{it.id}#{it.name}",
        "name": it.name,
        "active": True,
        "baseEnabled": False,
        "region": REGION_BODY,
        "billingMode": "PROJECT",
        "dataSharingEnabled": True,
        "tags": {"technicalTags": [], "userTags": []},
        "analysisPriority": "MEDIUM",
        "projectOwner": OWNER,
    }


def project_data(it: Datum, owning: Project, switches: Switches) -> Json:
    details: Json = {
        "timeCreated": moment(it.created),
        "timeModified": moment(it.modified),
        "creatorId": OWNER,
        "tenantId": TENANT,
        "tenantName": "simulator",
        "owningProjectId": owning.id,
        "owningProjectName": owning.name,
        "name": it.name,
        "path": it.path,
        "fileSizeInBytes": None if it.is_folder else it.size,
        "status": it.status,
        "tags": {f"{kind}Tags": [] for kind in TAG_KINDS},
        "dataType": "FOLDER" if it.is_folder else "FILE",
        "objectETag": it.etag,
        "storedForTheFirstTimeAt": moment(it.created),
        "region": REGION_BODY,
    }
    if not switches.echo_time_created:
        del details["timeCreated"]
    urn = f"urn:ilmn:ica:region:{REGION}:data:{it.id}#{it.path}"
    nature = {"folderDetails": {"nonIndexed": False}} if it.is_folder else {}
    return {"projectId": it.project_id, "data": {"id": it.id, "urn": urn, "details": details} | nature}


def job(it: Job, switches: Switches) -> Json:
    least = {"id": it.id, "status": it.status}
    if switches.job_fields == "least":
        return least
    required = least | {
        "subjectType": it.subject_type or switches.subject_type,
        "subjectId": it.subject_id,
        "timeCreated": moment(it.created),
        "owner": USER_BODY,
    }
    if switches.job_fields == "required":
        return required
    return required | {
        "additionalStatusInformation": it.reason,
        "timeStarted": moment(it.started),
        "timeFinished": moment(it.finished),
        "project": project(it.project),
    }


def batch(it: Job, switches: Switches) -> Json:
    body = {
        "id": it.batch_id,
        "job": job(it, switches),
        "copyUserTags": it.request.copy_user_tags,
        "copyTechnicalTags": it.request.copy_technical_tags,
        "copyInstrumentInfo": it.request.copy_instrument_info,
        "actionOnExist": it.request.action_on_exist,
    }
    folder_id = it.folder.id if it.folder else root_id(it.project) if switches.echo_root == "id" else None
    return body | ({"destinationFolderId": folder_id} if folder_id and switches.echo_folder else {})


def root_id(it: Project) -> str:
    """The id that a project's root may have, which no list shows."""
    return f"fol.{UUID(it.id).hex}"


def item(it: Item, destination: Project, switches: Switches) -> Json:
    body: Json = {
        "id": it.id,
        "request": {"dataId": it.source.id},
        "processing": {"status": it.status, "additionalStatusInformation": it.reason},
    }
    made = it.made if switches.echo_created_data else None
    return body | ({"createdProjectData": project_data(made, destination, switches)} if made else {})


def channel(it: Channel) -> Json:
    return _record(it.id, it.created) | {
        "enabled": it.asked.enabled,
        "type": it.asked.type,
        "address": it.asked.address,
        "awsRegion": it.asked.aws_region,
    }


def subscription(it: Subscription) -> Json:
    return _record(it.id, it.created) | {
        "eventCode": it.asked.event_code,
        "payloadVersion": it.asked.payload_version,
        "filterExpression": it.asked.filter_expression,
        "enabled": it.asked.enabled,
        "notificationChannel": channel(it.channel),
    }


def notification(it: Notice, switches: Switches) -> Json:
    """The message which ICA puts on a queue when the status of a job has changed."""
    return {
        "correlationId": it.id,
        "timestamp": moment(it.at),
        "eventCode": JOB_STATUS_CHANGED,
        "eventParameters": {},
        "description": EVENT_CODES[JOB_STATUS_CHANGED],
        "projectId": it.job.project.id,
        "payloadVersion": "v3",
        "payload": job(it.job, switches),
    }


def problem(refusal: IcaError, problem_id: str, method: str, path: str, now: datetime) -> Json:
    return {
        "id": problem_id,
        "type": "about:blank",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "instance": path,
        "method": method,
        "parameters": {},
        "timestamp": moment(now),
    }
