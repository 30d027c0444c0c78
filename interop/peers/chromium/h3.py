"""What Chromium's net log tells of connections over QUIC: the handshake's own messages, byte for byte, and what came of them."""

import base64

RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
SERVER_HELLO, TICKET, ENCRYPTED_EXTENSIONS, CERTIFICATE_VERIFY = 2, 4, 8, 15
ALPN, PRE_SHARED_KEY, SUPPORTED_VERSIONS, KEY_SHARE = 16, 41, 43, 51
EARLY = {"AttemptedAndSucceeded": "accepted", "AttemptedAndRejected": "refused"}
# A connection was closed by an alert: CRYPTO_ERROR (RFC 9000 section 20.1).
CRYPTO_ERROR = 0x100


def number(data):
    return int.from_bytes(data)


def extensions(data):
    found, at = {}, 2
    while at + 4 <= len(data):
        length = number(data[at + 2:at + 4])
        found[number(data[at:at + 2])] = data[at + 4:at + 4 + length]
        at += 4 + length
    return found


class Stream:
    """The CRYPTO frames of one level, in whatever order they come."""

    def __init__(self):
        self.pieces, self.data = {}, b""

    def add(self, offset, piece):
        self.pieces[offset] = max(self.pieces.get(offset, b""), piece, key=len)
        self.data = b""
        for offset, piece in sorted(self.pieces.items()):
            if offset <= len(self.data):
                self.data += piece[len(self.data) - offset:]

    def messages(self):
        at = 0
        while at + 4 <= len(self.data):
            length = number(self.data[at + 1:at + 4])
            if at + 4 + length > len(self.data):
                return
            yield self.data[at], self.data[at + 4:at + 4 + length]
            at += 4 + length


def fill(c, streams, names):
    """What the server's messages say. `names` are those of suites, groups and signature schemes."""
    suites, groups, schemes = names
    c["hrr"], c["tickets"] = False, 0
    for kind, message in (one for stream in streams.values() for one in stream.messages()):
        if kind == SERVER_HELLO and message[2:34] == RETRY:
            c["hrr"] = True
        elif kind == SERVER_HELLO:
            at = 35 + message[34]
            c["suite"] = suites.get(number(message[at:at + 2]))
            found = extensions(message[at + 3:])
            c["group"] = groups.get(number(found.get(KEY_SHARE, b"")[:2]))
            c["version"] = "1.3" if found.get(SUPPORTED_VERSIONS) == b"\x03\x04" else None
            c["resumed"] = PRE_SHARED_KEY in found
        elif kind == ENCRYPTED_EXTENSIONS:
            c["alpn"] = extensions(message).get(ALPN, b"")[3:].decode() or None
        elif kind == CERTIFICATE_VERIFY:
            c["certificate"] = schemes.get(number(message[:2]))
        elif kind == TICKET:
            c["tickets"] += 1


def read(events, url, host, new, names, alerts, staple_of):
    """Connections to a host in their order, each with the answers that came over it."""
    connections, streams, requests, staple = {}, {}, {}, None
    for name, event in events:
        source, parameters, phase = event["source"]["id"], event.get("params", {}), event.get("phase")
        if name == "QUIC_SESSION" and phase == 1 and parameters.get("host") == host:
            connections[source], streams[source] = new(), {}
        elif name == "URL_REQUEST_START_JOB" and parameters.get("url") == url:
            requests[source] = [None, None]
        elif name == "HTTP_STREAM_REQUEST_BOUND_TO_QUIC_SESSION" and source in requests:
            requests[source][0] = connections.get(parameters["source_dependency"]["id"])
        elif name == "HTTP_TRANSACTION_READ_RESPONSE_HEADERS" and source in requests and requests[source][0]:
            status = [word for word in parameters["headers"][0].split() if word.isdigit()]
            requests[source][1] = {"status": int(status[0]), "bytes": 0, "before_finished": None}
            requests[source][0]["responses"].append(requests[source][1])
        elif name == "URL_REQUEST_JOB_FILTERED_BYTES_READ" and source in requests and requests[source][1]:
            requests[source][1]["bytes"] += parameters.get("byte_count", 0)
        elif name == "CERT_VERIFY_PROC" and "certificates" in parameters:
            staple = staple_of(parameters)
        elif source in requests and parameters.get("net_error", 0) < -1:  # -1: it waits
            latest = requests[source][0] or (list(connections.values()) or [{}])[-1]
            latest["error"] = latest.get("error") or f"net error {parameters['net_error']}"
        c = connections.get(source)
        if c is None:
            continue
        if name == "QUIC_SESSION_CRYPTO_FRAME_RECEIVED":
            stream = streams[source].setdefault(parameters["encryption_level"], Stream())
            stream.add(parameters["offset"], base64.b64decode(parameters["bytes"]))
        elif name == "QUIC_SESSION_CERTIFICATE_VERIFIED":
            c["staple"], staple = staple, None
        elif name == "QUIC_SESSION_CRYPTO_HANDSHAKE_COMPLETE":
            c["handshake"] = True
        elif name == "QUIC_SESSION_ZERO_RTT_STATE":
            c["early"] = EARLY.get(parameters["state"], "none")
        elif name == "QUIC_SESSION_CONNECTION_CLOSE_FRAME_RECEIVED":
            code = parameters.get("quic_wire_error", 0)
            if parameters.get("close_type") == "Transport" and code >> 8 == CRYPTO_ERROR >> 8:
                c["ended"] = "alert:" + alerts.get(code & 0xFF, str(code & 0xFF))
                c["error"] = c["error"] or "closed by an alert"
    for source, c in connections.items():
        fill(c, streams[source], names)
    return list(connections.values())
