"""What smpp34, another implementation, reads in PDUs: lines of hex in; a line of JSON or its complaint out for each."""

import json
import sys

import smpp34

_FIELDS = (
    "source_addr_ton",
    "source_addr_npi",
    "source_addr",
    "dest_addr_ton",
    "dest_addr_npi",
    "destination_addr",
    "esm_class",
    "registered_delivery",
    "data_coding",
)

for line in sys.stdin:
    try:
        pdu = smpp34.decode(bytes.fromhex(line))
        read = {name: getattr(pdu, name) for name in _FIELDS}
        read["octets"] = bytes(pdu.short_message).hex()
        read["optional"] = {str(one.tag): bytes(one.value).hex() for one in pdu.tlvs}
        sys.stdout.write(json.dumps({"type": type(pdu).__name__, "sequence": pdu.sequence_number, **read}) + "\n")
    except (smpp34.SmppError, AttributeError) as problem:
        sys.stdout.write(json.dumps({"problem": repr(problem)}) + "\n")
