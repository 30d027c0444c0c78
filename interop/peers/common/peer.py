"""What the Python clients share: the arguments and the line of JSON (PROTOCOL.md)."""

import json
import sys

DEFAULTS = {
    "connect": None, "name": None, "ca": None, "mode": "full", "second-connect": None, "second-name": None, "version": "1.3",
    "alpn": "http/1.1", "groups": None, "suites": None, "signatures": None, "status": None, "method": "GET", "path": "/", "header": [],
    "header-bytes": 0, "body-bytes": 0, "requests": 1, "key-update": False, "retry-425": False, "end": "close", "timeout": 10.0,
    "hold-finished": 0, "http": "1",
}
LISTS = ("alpn", "groups", "suites")
# After so many seconds a server has closed an idle connection, where a client cannot: the edge of a run does after four.
IDLE = 8
GROUPS = {"x25519": "X25519", "secp256r1": "P-256", "prime256v1": "P-256", "p-256": "P-256", "secp384r1": "P-384", "p-384": "P-384",
          "secp521r1": "P-521", "p-521": "P-521", "x25519mlkem768": "X25519MLKEM768"}
# OpenSSL's names of TLS 1.2's suites, and everybody else's.
SUITES = {f"ECDHE-{key}-{short}": f"TLS_ECDHE_{key}_WITH_{long}"
          for key in ("ECDSA", "RSA")
          for short, long in (("AES128-GCM-SHA256", "AES_128_GCM_SHA256"), ("AES256-GCM-SHA384", "AES_256_GCM_SHA384"), ("CHACHA20-POLY1305", "CHACHA20_POLY1305_SHA256"))}


class Options:
    """The arguments as attributes: `--body-bytes` is `body_bytes`, a list is a list, `-` is None."""

    def __init__(self, arguments):
        values = dict(DEFAULTS, header=[])
        rest = iter(arguments)
        for argument in rest:
            key = argument.removeprefix("--")
            if key not in values or key == argument:
                sys.exit(f"no such argument: {argument}")
            default = DEFAULTS[key]
            if isinstance(default, bool):
                values[key] = True
                continue
            value = next(rest, None)
            if value is None:
                sys.exit(f"{argument} needs a value")
            if isinstance(default, list):
                values[key].append(value)
            else:
                values[key] = type(default)(value) if isinstance(default, (int, float)) else value
        for key in ("connect", "name", "ca"):
            if values[key] is None:
                sys.exit(f"--{key} is required")
        if values["http"] == "3" and "--alpn" not in arguments:
            values["alpn"] = "h3"
        for key in LISTS:
            values[key] = values[key].split(",") if values[key] not in (None, "-") else []
        values["second-connect"] = values["second-connect"] or values["connect"]
        values["second-name"] = values["second-name"] or values["name"]
        for key in ("name", "second-name"):
            values[key] = None if values[key] == "-" else values[key]
        for key, value in values.items():
            setattr(self, key.replace("-", "_"), value)
        self.headers = [tuple(part.strip() for part in header.split(":", 1)) for header in self.header]
        if self.header_bytes:
            self.headers.append(("X-Padding", "p" * self.header_bytes))


def served(stack):
    """The arguments of a server that speaks HTTP/3 alone, and cannot be told to update keys, or what groups to take."""
    o, rest = {}, iter(sys.argv[1:])
    for argument in rest:
        key = argument.removeprefix("--")
        o[key] = True if key in ("early", "refuse-early", "key-update") else next(rest, None)
    if o.get("http") != "3":
        unsupported(f"{stack} speaks QUIC alone")
    if "key-update" in o or "groups" in o:
        unsupported(f"{stack} has no way to be told")
    return o


def split_address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def connection():
    """An entry of the line, with nothing known yet."""
    return {"handshake": False, "version": None, "resumed": None, "early": "none", "hrr": None, "group": None, "suite": None, "alpn": None,
            "certificate": None, "staple": None, "tickets": None, "responses": [], "sent": 0, "ended": None, "error": None}


def elements(der):
    """The elements of a DER sequence's contents: tag and contents."""
    found, at = [], 0
    while at + 2 <= len(der):
        long = der[at + 1] & 0x7F if der[at + 1] & 0x80 else 0
        length = int.from_bytes(der[at + 2:at + 2 + long]) if long else der[at + 1]
        at += 2 + long
        found.append((der[at - 2 - long], der[at:at + length]))
        at += length
    return found


def staple_says(response, leaf):
    """What an OCSP response (RFC 6960 section 4.2.1) says of a certificate, both in DER."""
    if not response:
        return "none"
    body = [element for element in elements(elements(elements(leaf)[0][1])[0][1]) if element[0] == 2]
    wrapped = elements(elements(response)[0][1])[1][1]
    basic = elements(elements(elements(wrapped)[0][1])[1][1])[0][1]
    singles = [element for element in elements(elements(basic)[0][1]) if element[0] == 0x30][-1][1]
    for _, single in elements(singles):
        (_, about), (status, _), *_ = elements(single)
        if elements(about)[-1][1] == body[0][1]:
            return {0: "good", 1: "revoked"}.get(status & 0x1F, "unknown")
    return "other"


def unsupported(why):
    print(json.dumps({"unsupported": why}))
    sys.exit(127)


def finish(stack, connections, ok):
    print(json.dumps({"stack": stack, "connections": connections}))
    sys.exit(0 if ok else 1)
