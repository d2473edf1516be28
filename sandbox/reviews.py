"""The reviews that are answered when they are created, and never stored."""

from __future__ import annotations

from typing import Any

from kube.resources import GVR
from sandbox.access import Access, Attributes, Person
from sandbox.objects import Object, timestamp

GROUPS = ("authentication.k8s.io", "authorization.k8s.io")


def answer(access: Access, person: Person, gvr: GVR, kind: str, posted: Any, now: float) -> Object:
    """The review with its status.

    `posted` is the decoded body; a body that is none counts as empty, and so as a question about nothing.
    """
    spec = posted.get("spec") if isinstance(posted, dict) else None
    spec = spec if isinstance(spec, dict) else {}
    review: Object = {"kind": kind, "apiVersion": gvr.api_version, "metadata": {}}
    match kind:
        case "TokenReview":
            return {**review, "spec": spec, "status": _token(access, spec)}
        case "SelfSubjectReview":
            review["metadata"] = {"creationTimestamp": timestamp(now)}
            return {**review, "status": {"userInfo": person.user_info()}}
        case "SelfSubjectAccessReview":
            return {**review, "spec": spec, "status": _decision(access, person, spec)}
        case "SubjectAccessReview":
            asked = Person(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "")
            return {**review, "spec": spec, "status": _decision(access, asked, spec)}
        case _:
            return {**review, "spec": spec, "status": _rules(access, person, spec.get("namespace") or "")}


def _token(access: Access, spec: Object) -> Object:
    person = access.tokens.get(spec.get("token") or "")
    if person is None:
        return {"user": {}, "error": "[invalid bearer token, token lookup failed]"}
    return {"authenticated": True, "user": person.user_info()}


def _decision(access: Access, person: Person, spec: Object) -> Object:
    about, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if about:
        wanted = Attributes(
            verb=about.get("verb") or "",
            gvr=GVR(about.get("group") or "", about.get("version") or "", about.get("resource") or ""),
            subresource=about.get("subresource") or "",
            namespace=about.get("namespace") or "",
            name=about.get("name") or "",
        )
    else:
        wanted = Attributes(verb=(path or {}).get("verb") or "", path=(path or {}).get("path") or "")
    return {"allowed": access.allowed(person, wanted)}


def _rules(access: Access, person: Person, namespace: str) -> Object:
    resource_rules, path_rules = [], []
    for rule in access.rules(person, namespace):
        if rule.get("nonResourceURLs"):
            path_rules.append({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]})
        else:
            keys = ("verbs", "apiGroups", "resources", "resourceNames")
            resource_rules.append({key: rule[key] for key in keys if key in rule})
    return {"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": False}
