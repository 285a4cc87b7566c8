"""What smpp34, another implementation, reads in PDUs and writes: a line of JSON, or of its complaint, for each line in.

A line of hexadecimal digits is read. A line of JSON has the fields of a message that is written: "type", then what
smpp34 calls them, octets in hexadecimal, "optional" by tag.
"""

import json
import sys
from typing import Any

import smpp34

_FIELDS = (
    "service_type",
    "source_addr_ton",
    "source_addr_npi",
    "source_addr",
    "dest_addr_ton",
    "dest_addr_npi",
    "destination_addr",
    "esm_class",
    "protocol_id",
    "priority_flag",
    "schedule_delivery_time",
    "validity_period",
    "registered_delivery",
    "replace_if_present_flag",
    "data_coding",
    "sm_default_msg_id",
)


def read(octets: bytes) -> dict[str, Any]:
    """Return what a PDU says."""
    pdu = smpp34.decode(octets)
    if isinstance(pdu, smpp34.RawPdu):
        found = {"command": pdu.command_id, "status": pdu.command_status, "body": bytes(pdu.body).hex()}
        return {"sequence": pdu.sequence_number, **found}
    fields = {name: getattr(pdu, name) for name in _FIELDS}
    fields["short_message"] = bytes(pdu.short_message).hex()
    fields["optional"] = {str(one.tag): bytes(one.value).hex() for one in pdu.tlvs}
    return {"type": type(pdu).__name__, "sequence": pdu.sequence_number, **fields}


def written(fields: dict[str, Any]) -> str:
    """Return a PDU that says so."""
    kind = getattr(smpp34, fields.pop("type"))
    tlvs = [smpp34.Tlv(int(tag), bytes.fromhex(value)) for tag, value in fields.pop("optional").items()]
    octets = bytes.fromhex(fields.pop("short_message"))
    pdu: bytes = kind(**fields, short_message=octets, tlvs=tlvs, sequence_number=7).encode()
    return pdu.hex()


for line in sys.stdin:
    said: object
    try:
        said = written(json.loads(line)) if line.startswith("{") else read(bytes.fromhex(line))
    except (smpp34.SmppError, ValueError) as problem:
        said = {"problem": repr(problem)}
    sys.stdout.write(json.dumps(said) + "\n")
