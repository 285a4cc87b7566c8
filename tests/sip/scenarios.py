"""Scenarios of SIPp: a caller and callees that name themselves wherever a message can name somebody."""

NAMES_A = "Alice Real"
NAMES_B = "Bob Real"
DOMAIN_A, DOMAIN_B = "carrier-a.example", "net-b.example"

_SDP = """v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 21592 RTP/AVP 0
a=rtpmap:0 PCMU/8000
"""

_NUMBERED = '<ereg regexp="[0-9]+" search_in="hdr" header="CSeq:" assign_to="number"/>'
"""Not every switch counts from 1."""


def _telling(name: str, number: str, domain: str) -> str:
    """Return all the headers that may name who sends a message."""
    return f"""P-Asserted-Identity: "{name}" <sip:{number}@{domain}>
P-Preferred-Identity: "{name}" <sip:{number}@{domain}>
Remote-Party-ID: "{name}" <sip:{number}@{domain}>;party=calling
Diversion: <sip:{number}@{domain}>;reason=unconditional
History-Info: <sip:{number}@{domain}>;index=1
Call-Info: <http://{domain}/{number}>
Reply-To: "{name}" <sip:{number}@{domain}>
Organization: {name}
Subject: {name}
User-Agent: {name} {number}
Warning: 399 {domain} "{number}"
P-Charging-Vector: icid-value={number}
"""


def _request(method: str, uri: str, extra: str, *, cseq: int, tag: str = "[peer_tag_param]", body: str = "") -> str:
    content = "Content-Type: application/sdp\nContent-Length: [len]\n\n" + body if body else "Content-Length: 0\n\n"
    return f"""<![CDATA[
{method} {uri} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
[routes]
Max-Forwards: 70
From: "{NAMES_A}" <sip:[field0]@{DOMAIN_A}>;tag=[pid]A[call_number]
To: <sip:[field1]@[remote_ip]:[remote_port]>{tag}
Call-ID: [call_id]
CSeq: {cseq} {method}
Contact: "{NAMES_A}" <sip:[field0]@[local_ip]:[local_port];transport=[transport]>
{extra}{content}]]>"""


def _asking(extra: str, *, branch: str = "") -> str:
    request = _request("INVITE", "sip:[field1]@[remote_ip]:[remote_port];user=phone", extra, cseq=1, tag="", body=_SDP)
    request = request.replace("[routes]\n", "")
    return f'<send retrans="500"{branch}>{request}</send>'


def _heard(*codes: int) -> str:
    return "".join(f'<recv response="{code}" optional="true"/>' for code in codes)


def caller(number: str, *, end: str = "answered", privacy: bool = False) -> str:
    """Return a caller whose call ends so: `answered`, `cancelled`, or with the code of a refusal."""
    extra = _telling(NAMES_A, number, DOMAIN_A) + ("Privacy: id\n" if privacy else "")
    steps = [_asking(extra)]
    if end == "answered":
        uri = "[next_url]"
        steps += [
            _heard(100, 180, 181, 183),
            '<recv response="200" rrs="true"/>',
            f"<send>{_request('ACK', uri, extra, cseq=1)}</send>",
            '<pause milliseconds="300"/>',
            f'<send retrans="500">{_request("INVITE", uri, extra, cseq=2, body=_SDP)}</send>',
            _heard(100),
            '<recv response="200"/>',
            f"<send>{_request('ACK', uri, extra, cseq=2)}</send>",
            '<pause milliseconds="1000"/>',
            f'<send retrans="500">{_request("BYE", uri, extra, cseq=3)}</send>',
            _heard(100),
            '<recv response="200"/>',
        ]
    elif end == "cancelled":
        cancel = _request("CANCEL", "sip:[field1]@[remote_ip]:[remote_port];user=phone", "", cseq=1, tag="")
        cancel = cancel.replace("[routes]\n", "").replace(";branch=[branch]", ";branch=[branch-3]")
        steps += [
            _heard(100),
            '<recv response="180"/>',
            f'<send retrans="500">{cancel}</send>',
            '<recv response="200"/>',
            '<recv response="487"/>',
            _acknowledging(),
        ]
    else:
        steps += [_heard(100, 180, 181, 183), f'<recv response="{end}"/>', _acknowledging()]
    return _scenario("caller", steps)


def withheld_caller(number: str) -> str:
    """Return a caller who asks for privacy: From is anonymous, and only what is asserted has the number."""
    return caller(number, privacy=True).replace(f"[field0]@{DOMAIN_A}>;tag", "anonymous@anonymous.invalid>;tag")


def _acknowledging() -> str:
    request = _request("ACK", "sip:[field1]@[remote_ip]:[remote_port];user=phone", "", cseq=1)
    return f"<send>{request}</send>".replace("[routes]\n", "").replace(";branch=[branch]", ";branch=[branch-1]")


def callee(number: str, *, end: str = "answered", is_asked_again: bool = True) -> str:
    """Return a callee who answers, is `busy`, `silent`, rings until it is `cancelled`, or is `forwarded` elsewhere.

    A switch that ends both calls itself does not hand a re-INVITE on: then nobody `is_asked_again`.
    """
    steps = ['<recv request="INVITE" rrs="true"/>', _answering("180 " + NAMES_B, number)]
    again = (
        '<recv request="INVITE"/>',
        _answering("200 " + NAMES_B, number, body=_SDP, attributes=' retrans="500"', tag=""),
        '<recv request="ACK"/>',
    )
    if end == "answered":
        steps += [
            '<pause milliseconds="200"/>',
            _answering("200 " + NAMES_B, number, body=_SDP, attributes=' retrans="500"'),
            '<recv request="ACK"/>',
            *(again if is_asked_again else ()),
            '<recv request="BYE"/>',
            _answering("200 " + NAMES_B, number, tag=""),
        ]
    elif end in {"cancelled", "silent"}:
        steps += [
            f'<recv request="CANCEL"><action>{_NUMBERED}</action></recv>',
            _answering("200 OK", number, tag="").replace("[last_Record-Route:]\n", ""),
            _answering("487 " + NAMES_B, number, attributes=' retrans="500"').replace(
                "[last_CSeq:]", "CSeq: [$number] INVITE"
            ),
            '<recv request="ACK"/>',
        ]
    else:
        words = {"busy": f"486 {NAMES_B}", "forwarded": "302 Moved", "declined": f"603 {NAMES_B}"}
        steps += [_answering(words[end], number, attributes=' retrans="500"'), '<recv request="ACK"/>']
    return _scenario("callee", steps)


def _answering(
    line: str, number: str, *, body: str = "", attributes: str = "", tag: str = ";tag=[pid]B[call_number]"
) -> str:
    content = "Content-Type: application/sdp\nContent-Length: [len]\n\n" + body if body else "Content-Length: 0\n\n"
    return f"""<send{attributes}><![CDATA[
SIP/2.0 {line}
[last_Via:]
[last_From:]
[last_To:]{tag}
[last_Call-ID:]
[last_CSeq:]
[last_Record-Route:]
Contact: "{NAMES_B}" <sip:{number}@[local_ip]:[local_port];transport=[transport]>
{_telling(NAMES_B, number, DOMAIN_B)}{content}]]></send>"""


def _scenario(name: str, steps: list[str]) -> str:
    head = f'<?xml version="1.0" encoding="ISO-8859-1" ?>\n<scenario name="{name}">\n'
    return head + "\n".join(steps) + "\n</scenario>\n"
