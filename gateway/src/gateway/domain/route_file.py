"""The route table as operators write it: YAML in which every bad rule is named, with its line, before any of it counts."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gateway.domain.routing import Access, Route, ServiceName, is_plain
from shared.scopes import Scope

__all__ = ["RouteFileError", "parse_routes"]

_PRIVATE = ("/internal", "/health", "/metrics", "/docs", "/openapi.json")
"""The gateway's own pages, and what services answer to each other alone."""
_MOST_BODY_MIB = 64


class RouteFileError(ValueError):
    """Names every bad rule of a route file, one a line."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    path: str
    service: ServiceName
    access: Access
    scope: Scope | Literal["any"] | None = None
    changing: Scope | None = None
    alone: bool = False
    explains: bool = False
    batch: bool = False
    body_mib: int | None = Field(default=None, gt=0, le=_MOST_BODY_MIB)
    upload_mib: int | None = Field(default=None, gt=0, le=1 << 20)
    timeout_s: float | None = Field(default=None, gt=0, le=3600)

    @field_validator("path")
    @classmethod
    def _is_public(cls, path: str) -> str:
        if not is_plain(path):
            raise ValueError("a path begins with / and is made of letters, digits and . _ ~ -, between single slashes")
        if any(path == private or path.startswith(f"{private}/") for private in _PRIVATE):
            raise ValueError("this path is not for clients of a service")
        return path

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if (self.access == "open") != (self.scope is None):
            raise ValueError("a scope is said for every access but open: one of them, or any")
        if self.access == "open" and self.changing is not None:
            raise ValueError("changing is for what is not open")
        if self.access != "data" and (self.batch or self.explains):
            raise ValueError("only data is a batch, or explains what it would cost")
        if self.access != "data" and self.body_mib is not None:
            raise ValueError("body_mib is for data: without a slot a body has at most 64 KiB")
        if self.upload_mib is not None and self.access != "account":
            raise ValueError("only what is the account's is an upload")
        return self

    def hides(self, other: "_Rule") -> bool:
        """Whether nothing is left for a later one."""
        beneath = other.path == self.path or other.path.startswith(f"{self.path}/")
        return (other.path == self.path and (other.alone or not self.alone)) or (not self.alone and beneath)

    def route(self) -> Route:
        return Route(
            path=self.path,
            service=self.service,
            access=self.access,
            scope=None if self.scope == "any" else self.scope,
            alone=self.alone,
            changing=self.changing,
            explains=self.explains,
            batch=self.batch,
            body_bytes=self.body_mib << 20 if self.body_mib is not None else None,
            upload_bytes=self.upload_mib << 20 if self.upload_mib is not None else None,
            timeout_s=self.timeout_s,
        )


def parse_routes(text: str) -> tuple[Route, ...]:
    """Raises `RouteFileError`."""
    try:
        document, lines = _read(text)
    except yaml.YAMLError as error:
        raise RouteFileError([f"not YAML: {error}"]) from error
    if not (isinstance(document, dict) and set(document) == {"routes"} and isinstance(document["routes"], list)):
        raise RouteFileError(["a route file is one list, routes"])
    if not document["routes"]:
        raise RouteFileError(["there is no route"])
    rules: list[tuple[int, _Rule]] = []
    faults: list[str] = []
    for line, sent in zip(lines, document["routes"], strict=True):
        try:
            rules.append((line, _Rule.model_validate(sent)))
        except ValidationError as error:
            faults += [f"line {line}{_name(sent)}: {fault}" for fault in _told(error)]
    faults += _hidden(rules)
    if faults:
        raise RouteFileError(faults)
    return tuple(rule.route() for _, rule in rules)


def _read(text: str) -> tuple[Any, list[int]]:
    """What it says, and where each rule begins, from 1: nothing where it is no list of rules."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        document = loader.construct_document(root) if root is not None else None
    finally:
        loader.dispose()
    return document, _lines(root)


def _lines(root: Any) -> list[int]:
    values = [value for _, value in root.value] if isinstance(root, yaml.MappingNode) else []
    return [rule.start_mark.line + 1 for value in values if isinstance(value, yaml.SequenceNode) for rule in value.value]


def _name(sent: Any) -> str:
    path = sent.get("path") if isinstance(sent, dict) else None
    return f" ({path})" if isinstance(path, str) and len(path) <= 200 else ""


def _told(error: ValidationError) -> Iterator[str]:
    """One for each field at fault: what may stand in several types has a fault for each of them."""
    told = set[str]()
    for fault in error.errors(include_url=False, include_input=False):
        field = str(fault["loc"][0]) if fault["loc"] else "rule"
        if field not in told:
            told.add(field)
            yield f"{field}: {fault['msg'].removeprefix('Value error, ')}"


def _hidden(rules: Sequence[tuple[int, _Rule]]) -> Iterator[str]:
    for number, (line, rule) in enumerate(rules):
        hiding = next((earlier for earlier, before in rules[:number] if before.hides(rule)), None)
        if hiding is not None:
            yield f"line {line} ({rule.path}): no path comes as far as here, for the rule of line {hiding} takes them all"
