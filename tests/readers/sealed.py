"""An implementation of docs/sealed-format.md that knows nothing of dlconf's code.

    sealed.py open  < {"key" or "passphrase", "text" or "bytes"}           > the contents
    sealed.py seal  < {"keys", "purpose", "state", "pieces"}               > text and bytes

Bytes are hexadecimal in both.
"""

import hashlib
import hmac
import json
import os
import re
import struct
import sys
from base64 import b64decode, b64encode
from datetime import datetime, timezone

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"DLCSEAL\0"
PURPOSES = {"file": 1, "snapshot": 2, "mark": 3}
TEXTS = ("schema", "environment", "service", "instance")


def derive(salt, secret, info):
    return HKDF(hashes.SHA256(), 32, salt, b"dlconf sealed 1 " + info).derive(secret)


def key_id(material):
    return derive(b"", material, b"key id")[:8]


def stretch(passphrase, salt, memory, passes, lanes):
    assert memory <= 262144 and passes <= 10 and lanes <= 8
    kdf = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
    return kdf.derive(passphrase.encode())


def short(text):
    return struct.pack(">H", len(text.encode())) + text.encode()


def start(purpose, salt):
    return MAGIC + bytes([1, 1, purpose]) + salt


def slot_start(slot):
    memory, passes, lanes, salt = slot["stretch"] or (0, 0, 0, bytes(16))
    kind = 1 if slot["stretch"] else 0
    return struct.pack(">BIII", kind, memory, passes, lanes) + salt + slot["id"]


def committed(c):
    slots = b"".join(slot_start(s) + s["nonce"] + s["wrapped"] for s in c["slots"])
    return start(c["purpose"], c["salt"]) + bytes([len(c["slots"])]) + slots


def header(c):
    before = committed(c) + c["commitment"]
    return before + hashlib.sha256(before).digest()[:8]


def body(c):
    s = c["state"]
    out = header(c) + struct.pack(">Qqq", s["generation"], s["written"], s.get("until") or 0)
    out += bytes.fromhex(s.get("schema_hash") or "00" * 32)
    out += b"".join(short(s.get(text, "")) for text in TEXTS)
    out += struct.pack(">I", len(c["entries"]))
    for name, nonce, sealed in c["entries"]:
        out += short(name) + struct.pack(">I", len(sealed)) + nonce + sealed
    return out


def seal(order):
    key = os.urandom(32)
    c = {"purpose": PURPOSES[order["purpose"]], "salt": os.urandom(32), "slots": [], "state": order["state"]}
    for given in order["keys"]:
        slot = {"stretch": None, "nonce": os.urandom(12)}
        if "passphrase" in given:
            slot["stretch"] = (1024, 2, 2, os.urandom(16))
            memory, passes, lanes, salt = slot["stretch"]
            material = stretch(given["passphrase"], salt, memory, passes, lanes)
        else:
            material = bytes.fromhex(given["key"])
        slot["id"] = key_id(material)
        aad = start(c["purpose"], c["salt"]) + slot_start(slot)
        slot["wrapped"] = AESGCM(derive(c["salt"], material, b"slot")).encrypt(slot["nonce"], key, aad)
        c["slots"].append(slot)
    c["commitment"] = derive(c["salt"], key, b"commitment" + committed(c))
    values = AESGCM(derive(c["salt"], key, b"values"))
    c["entries"] = []
    for name, text in order["pieces"]:
        plain = bytes.fromhex(text) + b"\x80"
        plain += bytes(-len(plain) % 32)
        nonce = os.urandom(12)
        c["entries"].append((name or "", nonce, values.encrypt(nonce, plain, header(c) + short(name or ""))))
    nonce = os.urandom(12)
    c["seal"] = nonce + AESGCM(derive(c["salt"], key, b"seal")).encrypt(nonce, b"", body(c))
    return c


def open_container(c, given):
    for slot in c["slots"]:
        if bool(slot["stretch"]) != ("passphrase" in given):
            continue
        if slot["stretch"]:
            memory, passes, lanes, salt = slot["stretch"]
            material = stretch(given["passphrase"], salt, memory, passes, lanes)
        else:
            material = bytes.fromhex(given["key"])
        if key_id(material) == slot["id"]:
            break
    else:
        raise SystemExit("wrong key")
    aad = start(c["purpose"], c["salt"]) + slot_start(slot)
    key = AESGCM(derive(c["salt"], material, b"slot")).decrypt(slot["nonce"], slot["wrapped"], aad)
    assert hmac.compare_digest(derive(c["salt"], key, b"commitment" + committed(c)), c["commitment"])
    AESGCM(derive(c["salt"], key, b"seal")).decrypt(c["seal"][:12], c["seal"][12:], body(c))
    values = AESGCM(derive(c["salt"], key, b"values"))
    pieces = []
    for name, nonce, sealed in c["entries"]:
        padded = values.decrypt(nonce, sealed, header(c) + short(name))
        plain = padded.rstrip(b"\0")
        assert plain[-1:] == b"\x80" and len(padded) - len(plain) < 32
        pieces.append([name or None, plain[:-1].hex()])
    return pieces


# ---- Bytes ----


def decode(data):
    at = 0

    def take(count):
        nonlocal at
        assert at + count <= len(data)
        at += count
        return data[at - count : at]

    def text():
        return take(struct.unpack(">H", take(2))[0]).decode()

    assert take(8) == MAGIC and take(2) == b"\1\1"
    c = {"purpose": take(1)[0], "salt": take(32), "slots": []}
    for _ in range(take(1)[0]):
        kind, memory, passes, lanes = struct.unpack(">BIII", take(13))
        salt = take(16)
        stretched = (memory, passes, lanes, salt) if kind == 1 else None
        c["slots"].append({"stretch": stretched, "id": take(8), "nonce": take(12), "wrapped": take(48)})
    c["commitment"] = take(32)
    assert take(8) == header(c)[-8:]
    generation, written, until = struct.unpack(">Qqq", take(24))
    c["state"] = {"generation": generation, "written": written, "until": until, "schema_hash": take(32).hex()}
    for name in TEXTS:
        c["state"][name] = text()
    c["entries"] = []
    for _ in range(struct.unpack(">I", take(4))[0]):
        name = text()
        length = struct.unpack(">I", take(4))[0]
        c["entries"].append((name, take(12), take(length)))
    c["seal"] = take(28)
    assert at == len(data)
    return c


def encode(c):
    return body(c) + c["seal"]


# ---- Text ----


def base64(data):
    return b64encode(data).decode().rstrip("=")


def unbase64(text):
    return b64decode(text + "=" * (-len(text) % 4), validate=True)


def time(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text):
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp())


def to_text(c):
    lines = ["dlconf-sealed 1", "salt " + base64(c["salt"])]
    for slot in c["slots"]:
        wrapped = base64(slot["nonce"] + slot["wrapped"])
        if slot["stretch"]:
            memory, passes, lanes, salt = slot["stretch"]
            how = f"m={memory} t={passes} p={lanes} {base64(salt)}"
            lines.append(f"passphrase {slot['id'].hex()} {how} {wrapped}")
        else:
            lines.append(f"key {slot['id'].hex()} {wrapped}")
    lines.append(f"check {base64(c['commitment'])} {base64(header(c)[-8:])}")
    state = c["state"]
    until = f" until={time(state['until'])}" if state.get("until") else ""
    lines += [f"state generation={state['generation']} written={time(state['written'])}{until}", ""]
    lines += [f"{name or '#'}: {base64(nonce + sealed)}" for name, nonce, sealed in c["entries"]]
    lines += ["", "seal " + base64(c["seal"])]
    return "\n".join(lines) + "\n"


def from_text(text):
    lines = iter(text.split("\n"))
    assert next(lines) == "dlconf-sealed 1"
    c = {"purpose": 1, "slots": [], "salt": unbase64(next(lines).removeprefix("salt "))}
    while not (line := next(lines)).startswith("check "):
        kind, ident, *how, wrapped = line.split(" ")
        wrapped = unbase64(wrapped)
        stretched = None
        if kind == "passphrase":
            memory, passes, lanes = (int(word[2:]) for word in how[:3])
            stretched = (memory, passes, lanes, unbase64(how[3]))
        slot = {"stretch": stretched, "id": bytes.fromhex(ident), "nonce": wrapped[:12], "wrapped": wrapped[12:]}
        c["slots"].append(slot)
    commitment, check = line.removeprefix("check ").split(" ")
    c["commitment"] = unbase64(commitment)
    assert unbase64(check) == header(c)[-8:]
    state = dict(re.findall(r" (\w+)=(\S+)", next(lines)))
    until = seconds(state["until"]) if "until" in state else None
    c["state"] = {"generation": int(state["generation"]), "written": seconds(state["written"]), "until": until}
    assert next(lines) == ""
    c["entries"] = []
    while line := next(lines):
        name, sealed = line.split(": ")
        sealed = unbase64(sealed)
        c["entries"].append(("" if name == "#" else name, sealed[:12], sealed[12:]))
    c["seal"] = unbase64(next(lines).removeprefix("seal "))
    assert to_text(c) == text
    return c


def main():
    order = json.load(sys.stdin)
    if sys.argv[1] == "open":
        c = from_text(order["text"]) if "text" in order else decode(bytes.fromhex(order["bytes"]))
        json.dump({"state": c["state"], "pieces": open_container(c, order)}, sys.stdout)
    else:
        c = seal(order)
        json.dump({"bytes": encode(c).hex(), "text": to_text(c) if c["purpose"] == 1 else None}, sys.stdout)


main()
