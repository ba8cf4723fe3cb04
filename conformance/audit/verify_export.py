#!/usr/bin/env python3
# fmt: off
"""Checks an audit export of Stacksona Gate: verify_export.py FILE [--checkpoint FILE] [--key FILE] [--json]
A second verifier, to be read in one go. It needs Python 3.12 and the package cryptography, nothing of the gate.
README.md beside it tells the format. Exit code 0: sound. 1: broken, and where. 2: it cannot be called like this."""
# ruff: noqa: E401, E701, I001, T201 - in as few lines as can be read
import argparse, datetime, decimal, json, re, sys
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
def need(true, what):
    if not true: raise ValueError(what)
def unbase64(text, size=32):
    need(b64encode(b64decode(text)).decode() == text and len(b64decode(text)) == size, f"{text!r} is no {size} bytes")
    return b64decode(text)
# JSON with one reading (RFC 7493), and its canonical form (RFC 8785)
def once(pairs):
    need(len(dict(pairs)) == len(pairs), f"a key twice in one object: {[key for key, _ in pairs]}")
    return dict(pairs)
def read(text):
    text = text.decode() if isinstance(text, bytes) else text
    value = json.loads(text, object_pairs_hook=once, parse_constant=lambda name: need(False, name))
    return value if json.dumps(value, ensure_ascii=False).encode() else None  # which fails for half a surrogate pair
def canonical(value):
    if isinstance(value, list): return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in keys) + "}"
    if not isinstance(value, float): return json.dumps(value, ensure_ascii=False)
    _, digits, power = decimal.Decimal(repr(value)).normalize().as_tuple()  # written as ECMAScript does
    text, point = "".join(map(str, digits)), len(digits) + power
    if 0 < point <= 21: text = text[:point].ljust(point, "0") + "." * (len(text) > point) + text[point:]
    elif -6 < point <= 0: text = "0." + "0" * -point + text
    else: text = f"{text[0]}.{text[1:]}".rstrip(".") + f"e{point - 1:+d}"
    return "-" * (value < 0) + text
# Keys, signed notes, checkpoints (C2SP signed-note and tlog-checkpoint)
def key_id(name, raw): return sha256(name.encode() + b"\n" + raw).digest()[:4]
def read_key(text):
    name, number, key = text.strip().split("+", 2)
    need(number == key_id(name, unbase64(key, 33)).hex() and unbase64(key, 33)[0] == 1, f"{text!r} is no log's key")
    return name, unbase64(key, 33)
def read_checkpoint(note):
    parts = re.fullmatch(r"(([^\n]+)\n(0|[1-9][0-9]{0,18})\n([^\n]+)\n(?:[^\n]+\n)*)\n((?:— [^\s+]+ [^\s]+\n)+)", note)
    need(parts, "that is no checkpoint")
    lines = [(line.split(" ")[1], b64decode(line.split(" ")[2], validate=True)) for line in parts[5].splitlines()]
    return parts[2], int(parts[3]), unbase64(parts[4]), parts[1].encode(), lines
def open_checkpoint(note, keys):
    origin, size, root, body, lines = read_checkpoint(note)
    known = {key_id(name, raw): Ed25519PublicKey.from_public_bytes(raw[1:]) for name, raw in keys if name == origin}
    signed = [(known[raw[:4]], raw[4:]) for name, raw in lines if name == origin and raw[:4] in known]
    need(signed, f"the checkpoint of {origin} is not signed by the log's key")
    for key, signature in signed: key.verify(signature, body)  # which raises for a wrong one
    return origin, size, root
# The Merkle tree (RFC 6962 section 2.1). ``peaks`` are its full subtrees, largest first: hash and number of leaves.
def node(left, right): return sha256(b"\1" + left + right).digest()
def root_of(peaks):
    root = peaks[-1][0] if peaks else sha256(b"").digest()
    for peak, _ in peaks[-2::-1]: root = node(peak, root)
    return root
def half(size): return 1 << (size - 1).bit_length() >> 1  # the largest power of two below size
def included(index, size, leaf, proof):  # the root that an inclusion proof leads to, from the top down
    need(0 <= index < size and (size > 1) == bool(proof), "the proof has another length")
    if size == 1: return leaf
    if index < half(size): return node(included(index, half(size), leaf, proof[:-1]), proof[-1])
    return node(proof[-1], included(index - half(size), size - half(size), leaf, proof[:-1]))
def extended(old, new, proof, root):  # the old and new root that a consistency proof leads to; root: old one, if known
    need(len(proof) == (root is None) if old == new else proof, "the proof of consistency has another length")
    if old == new: return (proof or [root]) * 2
    left = old <= half(new)
    sizes = (old, half(new)) if left else (old - half(new), new - half(new))
    before, after = extended(*sizes, proof[:-1], root if left else None)
    return (before, node(after, proof[-1])) if left else (node(proof[-1], before), node(proof[-1], after))
def parts_of(file):  # of the export: the header, and every entry as JSON with its place
    first = file.readline()
    if not first.strip() or first.lstrip().startswith((b"<", b"{\n", b"{\r")): first += file.read()
    pages = re.findall(rb'(?is)<script\b[^>]*\bid="evidence"[^>]*>(.*?)</script\s*>', first)
    need(len(pages) == first.lstrip().startswith(b"<"), "a page holds one script of evidence, another file none")
    top = read(pages[0] if pages else first)
    need("log" not in top or not file.read().strip(), "something stands after the document")
    return top.get("log", top), enumerate(map(json.dumps, top["entries"]), 1) if "log" in top else enumerate(file, 2)
def check_entry(entry, header, totals):
    leaf, private, thread = read(entry["leaf"]), entry["private"], header.get("thread_id")
    need(entry.keys() <= {"index", "leaf", "private", "proof"} and type(entry["index"]) is int, "a field is unknown")
    need(canonical(leaf) == entry["leaf"] and leaf["v"] == 1 and leaf["tenant"] == header["tenant"], "not such a leaf")
    when, at, objects, hashes = datetime.datetime.fromisoformat, leaf["at"], leaf["objects"], leaf["commitments"]
    need(when(header.get("from") or at) <= when(at) < when(header.get("to") or "9999-01-01T00Z"), "not in that time")
    totals["requests"] |= {objects.get("request")} - {None}
    totals["named"] |= objects.get("thread") == thread
    own = objects.get("thread", thread) == thread and len(totals["requests"]) < 2 and {*objects} & {"thread", "request"}
    need(header.get("request_id") in (None, objects.get("request")) and (own or not thread), "of another thread")
    need(private.keys() <= hashes.keys() and all(len(one) == 64 for one in hashes.values()), "not committed to")
    totals["erased"] += len(hashes) - len(private)
    for name, value in private.items():
        withheld = value.get("redacted") is True and value.keys() <= {"redacted", "shown"}
        totals["redacted" if withheld else "disclosed"] += 1
        if withheld: continue
        need(value.keys() == {"salt", "value"} and len(value["salt"]) == 64, f"{name} is not disclosed as it should be")
        digest = sha256(bytes.fromhex(value["salt"]) + canonical(value["value"]).encode()).hexdigest()
        need(digest == hashes[name], f"{name} is not what the leaf committed to")
def check(file, keys, note, totals):
    header, rows = parts_of(file)
    kind, key, peaks, last, before = header["kind"], read_key(header["public_key"]), [], -1, root_of([])
    need(header["format"] == "stacksona-audit-1" and kind in ("tenant", "range", "thread"), "another format")
    need(not keys or key in keys, "the header names another key than the one given")
    log, size, root = open_checkpoint(header["checkpoint"], keys or [key])
    named = (header["origin"], header["size"], header.get("thread_id") is not None)
    need(named == (log, size, kind == "thread") and log.endswith("/" + header["tenant"]), "the header lies")
    saved, old, old_root = open_checkpoint(note, keys or [key]) if note is not None else (log, 0, root_of([]))
    need(saved == log and old <= size, f"the saved checkpoint has {old} entries of {saved}, this log {size}")
    for totals["place"], line in rows:
        entry = read(line)
        leaf = sha256(b"\0" + entry["leaf"].encode()).digest()
        need(entry["index"] == last + 1 if kind == "tenant" else entry["index"] > last, "missing or out of order")
        if kind != "tenant" or "proof" in entry:
            need(included(entry["index"], size, leaf, [*map(unbase64, entry["proof"])]) == root, "not in the tree")
        check_entry(entry, header, totals)
        last, totals["entries"] = entry["index"], totals["entries"] + 1
        peaks.append((leaf, 1))
        while len(peaks) > 1 and peaks[-1][1] == peaks[-2][1]:
            peaks[-2:] = [(node(peaks[-2][0], peaks[-1][0]), 2 * peaks[-1][1])]
        if last + 1 == old: before = root_of(peaks)
    totals["place"] = "end"
    need(totals["entries"] == header["entries"], f"the header says {header['entries']} entries: {totals['entries']}")
    need(kind != "thread" or not last + 1 or totals["named"], "no entry names the thread")
    need(kind != "tenant" or (last + 1 == size and root_of(peaks) == root), "the entries do not have the root")
    if kind != "tenant" and old:
        offered = {"from": size, "proof": []} if old == size else header.get("consistency", {"from": None})
        need(offered["from"] == old, f"no proof from size {old}: export again with --since and the saved checkpoint")
        before, after = extended(old, size, [*map(unbase64, offered["proof"])], old_root)
    else: after = root
    need((before, after) == (old_root, root), f"the first {old} entries are not those of the saved checkpoint")
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("file", "--checkpoint", "--key"): parser.add_argument(name, type=Path)
    parser.add_argument("--json", action="store_true")
    told, problem = parser.parse_args(), None
    totals = {"entries": 0, "disclosed": 0, "redacted": 0, "erased": 0, "place": 1, "requests": set(), "named": False}
    try:
        keys = [read_key(line) for line in told.key.read_bytes().decode().strip().split("\n")] if told.key else []
        note = told.checkpoint.read_bytes().decode() if told.checkpoint else None
        file = told.file.open("rb") if note is None or read_checkpoint(note) else None
    except (OSError, ValueError) as error: parser.error(str(error))
    try:
        with file: check(file, keys, note, totals)
    except Exception as error: problem = f"{totals['place']}: {type(error).__name__}: {error}"
    facts = {"sound": problem is None, "problem": problem, **dict(list(totals.items())[:4])}
    print(json.dumps(facts) if told.json else "\n".join(f"{name}: {value}" for name, value in facts.items()))
    return problem is not None
if __name__ == "__main__": sys.exit(main())
