"""What the store keeps of a session, so that any replica can go on with it.

Owns: the record's name and its words. Refuses: secrets: the id of a minted session, which opens it,
is in no name and no record but as a hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
from mcp_types import InitializeRequestParams

from ccxt_mcp.model import Principal
from ccxt_mcp.store.protocol import Record
from ccxt_mcp.transport.session import Kind, Session, percentiles, utc

__all__ = ["Facts", "describe", "name_of"]


def name_of(principal: Principal, session_id: str) -> str:
    """The record of a caller's session; another caller's of the same id has another."""
    digest = hashlib.sha256(session_id.encode()).hexdigest()
    return f"session/{quote(principal.name, safe='')}/{digest}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a record says.

    Attributes:
        label: as the session is shown; of a named one its name.
        client_ip: whose bound it counts for.
        connected_at: POSIX seconds.
        client: the parameters of its client's ``initialize``.
        streams: whether there was a connection for the session's own stream.
    """

    kind: Kind
    principal: str
    label: str
    client_ip: str | None
    connected_at: float
    protocol_version: str
    client: dict[str, Any] | None = None
    streams: bool = False

    @classmethod
    def of(cls, session: Session) -> Facts:
        """Those of a local part."""
        client = session.client_params
        return cls(
            session.kind,
            session.principal.name,
            session.label,
            session.client_ip,
            session.connected_at,
            session.protocol_version,
            None if client is None else client.model_dump(mode="json", by_alias=True),
            session.part is not None and session.part.streams,
        )

    def encoded(self) -> bytes:
        """For the store."""
        return orjson.dumps(
            {
                "kind": self.kind.value,
                "principal": self.principal,
                "label": self.label,
                "ip": self.client_ip,
                "at": self.connected_at,
                "version": self.protocol_version,
                "client": self.client,
                "streams": self.streams,
            }
        )

    @classmethod
    def decoded(cls, data: bytes) -> Facts:
        """From the store."""
        said = orjson.loads(data)
        return cls(
            Kind(said["kind"]),
            said["principal"],
            said["label"],
            said["ip"],
            said["at"],
            said["version"],
            said["client"],
            said["streams"],
        )

    def tell(self, session: Session) -> None:
        """Make a local part say the same."""
        session.connected_at = self.connected_at
        if self.client is not None or session.client_params is None:
            session.protocol_version = self.protocol_version
            session.client_params = (
                None if self.client is None else InitializeRequestParams.model_validate(self.client)
            )


def describe(record: Record, now: float) -> dict[str, Any]:
    """A session as ``/health`` shows it, wherever its parts are. ``now`` is in POSIX seconds."""
    facts = Facts.decoded(record.data)
    info = (facts.client or {}).get("clientInfo") or {}
    tally = record.tally
    return {
        "sessionId": facts.label,
        "connectedAt": utc(facts.connected_at),
        "lastActivity": utc(now - record.idle),
        "clientIp": facts.client_ip,
        "kind": facts.kind.value,
        "principal": facts.principal or None,
        "client": f"{info.get('name')}/{info.get('version')}"[:128] if info else None,
        "protocolVersion": facts.protocol_version,
        "inFlight": int(record.held),
        "queued": 0,
        "calls": int(tally.get("calls", 0)),
        "errors": int(tally.get("errors", 0)),
        "timeouts": int(tally.get("timeouts", 0)),
        "latencyMs": percentiles(record.latencies),
    }
