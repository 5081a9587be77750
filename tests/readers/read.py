"""Reads a file as one reader does and prints what it got as a JSON object.

    read.py READER FILE

Where the real reader is a Python package or a library, it is called; docker,
Compose and PowerShell are read by the rules of their own parsers, written anew
from their sources and sharing nothing with the encoder. Exit code 77: the
reader is not on this machine.
"""

import base64
import ctypes
import glob
import json
import re
import sys


def python(path):
    import dotenv

    return dotenv.dotenv_values(path, interpolate=True)


def systemd(path):
    folders = ["/lib/*/systemd", "/usr/lib/*/systemd", "/lib/systemd", "/usr/lib/systemd", "/usr/lib64/systemd"]
    found = [library for folder in folders for library in glob.glob(folder + "/libsystemd-shared-*.so")]
    if not found:
        print("no libsystemd-shared on this machine", file=sys.stderr)
        sys.exit(77)
    library = ctypes.CDLL(found[0])
    entries = ctypes.POINTER(ctypes.c_char_p)()
    library.load_env_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    code = library.load_env_file(None, path.encode(), ctypes.byref(entries))
    if code < 0:
        sys.exit(f"load_env_file: {code}")
    values, index = {}, 0
    while entries and entries[index] is not None:
        key, _, value = entries[index].decode().partition("=")
        values[key] = value
        index += 1
    return values


def docker(path):
    """docker/cli, pkg/kvfile: lines by a bufio.Scanner, `=` by strings.Cut."""
    values = {}
    text = open(path, "rb").read()
    lines = text.split(b"\n")
    for number, line in enumerate(lines):
        if len(line) >= 64 * 1024:
            sys.exit("bufio.Scanner: token too long")
        if number == 0:
            line = line.removeprefix(b"\xef\xbb\xbf")
        line = line.removesuffix(b"\r").decode().lstrip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not key or re.search(r"[ \t\n\r\v\f]", key):
            sys.exit("a malformed name")
        if equals:
            values[key] = value
    return values


COMPOSE_ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0\d{0,3})')
COMPOSE_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<named>[_a-zA-Z][_a-zA-Z0-9]*)|(?P<braced>\{[^}]*\})|(?P<invalid>))")
GO_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}
GO_BLANKS = "\t\v\f\r \x85\xa0"


def compose(path):
    """compose-go, dotenv/parser.go."""
    text = open(path, encoding="utf-8", newline="").read().removeprefix("\ufeff")
    values, at = {}, 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return values
        equals = text.index("=", at)
        key, at = text[at:equals], equals + 1
        while at < len(text) and text[at] in GO_BLANKS:
            at += 1
        if text[at : at + 1] not in ("'", '"'):
            end = text.index("\n", at)
            values[key] = compose_expand(text[at:end].partition(" #")[0].rstrip())
            at = end + 1
            continue
        quote, pieces, escape, at = text[at], [], False, at + 1
        while text[at] != quote or escape:
            if text[at] == quote:
                escape = False
                pieces.append(quote)
            elif not escape and text[at] == "\\":
                escape = True
            else:
                pieces.append("\\" * escape + text[at])
                escape = False
            at += 1
        at += 1
        value = "".join(pieces)
        values[key] = compose_expand(COMPOSE_ESCAPE.sub(compose_unescape, value)) if quote == '"' else value


def compose_unescape(match):
    text = match.group()
    return "$$" if text == r"\$" else GO_ESCAPES.get(text[1], text)


def compose_expand(text):
    def variable(match):
        if match.group("invalid") is not None:
            raise ValueError("an invalid template")
        return "$" if match.group("escaped") else "(expanded)"

    return COMPOSE_VARIABLE.sub(variable, text)


POWERSHELL_QUOTES = "'\u2018\u2019\u201a\u201b"


def powershell(path):
    """PowerShell's tokenizer: `ScanStringLiteral` and `IsSingleQuote`."""
    text = open(path, encoding="utf-8", newline="").read()
    values, at = {}, 0
    while at < len(text):
        statement = re.compile(r"\$env:([A-Za-z_][A-Za-z0-9_]*) = (.)").match(text, at)
        if not statement or statement[2] not in POWERSHELL_QUOTES:
            sys.exit("this would run")
        pieces, at = [], statement.end()
        while True:
            if text[at] in POWERSHELL_QUOTES:
                at += 1
                if text[at] not in POWERSHELL_QUOTES:
                    break
            pieces.append(text[at])
            at += 1
        if text[at] != "\n":
            sys.exit("this would run")
        at += 1
        values[statement[1]] = "".join(pieces)
    return values


def json_object(path):
    return json.load(open(path, encoding="utf-8"))


def yaml_mapping(path):
    import yaml

    return yaml.safe_load(open(path, "rb"))


def secret(path):
    manifest = yaml_mapping(path)
    data = manifest.pop("data")
    expected = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "round-trip"}, "type": "Opaque"}
    if manifest != expected:
        sys.exit(f"not the Secret: {manifest}")
    return {key: base64.b64decode(text, validate=True).decode() for key, text in data.items()}


READERS = {
    "python": python,
    "systemd": systemd,
    "docker": docker,
    "compose": compose,
    "powershell": powershell,
    "json": json_object,
    "yaml": yaml_mapping,
    "k8s-secret": secret,
}

json.dump(READERS[sys.argv[1]](sys.argv[2]), sys.stdout)
