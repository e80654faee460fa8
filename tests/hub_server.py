"""
A Hub on this machine: enough of its HTTP interface for the real huggingface_hub client.

Repositories are dicts of files; faults are switched on by file name, so that each test says in one
line what goes wrong.
"""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")
TREE = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/?]+)")
REFUSALS = {
    "gated": (403, "GatedRepo"),
    "private": (401, "RepoNotFound"),
    "no-revision": (404, "RevisionNotFound"),
    "bad-token": (401, "", "Invalid credentials in Authorization header"),
    "disabled": (403, "", "Access to this resource is disabled."),
}


def safetensors_bytes(tensors, *, padding=0):
    """
    A safetensors file with zeros for data, from ``{name: (dtype, shape, num_bytes)}``.
    """
    header, end = {}, 0
    for name, (dtype, shape, num_bytes) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + num_bytes]}
        end += num_bytes
    text = json.dumps(header).encode() + b" " * padding
    return len(text).to_bytes(8, "little") + text + bytes(end)


class HubServer:
    """
    Serves ``repositories`` until closed.

    Attributes:
        repositories: Files by name, by repository id.

        faults: What goes wrong, by file name: a key of `REFUSALS`, a status code, ``hang``, ``cut``,
            ``less``, ``short``, ``no-commit``, ``ignore-range``, ``web-page``, or the address to be sent to.

        requests: (method, path, headers) of every request.

        sent_bytes: Of all bodies, as far as the client took them.
    """

    def __init__(self):
        self.repositories = {}
        self.faults = {}
        self.requests = []
        self.sent_bytes = 0
        self.commit = COMMIT
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def asked(self, name, method="GET"):
        """
        The headers of the requests for a file.
        """
        return [headers for verb, path, headers in self.requests if verb == method and path.endswith(name)]


class _Handler(BaseHTTPRequestHandler):
    hub = None
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        self.hub.requests.append((self.command, self.path, dict(self.headers)))
        tree, file = TREE.match(self.path), RESOLVE.fullmatch(self.path)
        if tree:
            files = self.hub.repositories.get(tree["repo"], {})
            rows = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in files]
            self.reply(200, json.dumps(rows).encode())
        elif file:
            self.resolve(**file.groupdict())
        else:
            self.refuse(404, "RepoNotFound")

    def resolve(self, repo, revision, name):
        fault = self.hub.faults.get(name)
        if repo not in self.hub.repositories:
            self.refuse(401, "RepoNotFound")
        elif fault in REFUSALS:
            self.refuse(*REFUSALS[fault])
        elif isinstance(fault, int):
            self.refuse(fault, "")
        elif fault == "hang":
            self.hub.closing.wait(20)
        elif fault == "web-page":
            self.reply(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
        elif isinstance(fault, str) and "/" in fault:
            self.reply(302, b"", {**self.facts(repo, name), "Location": fault + self.path})
        elif name not in self.hub.repositories[repo]:
            self.refuse(404, "EntryNotFound")
        else:
            self.send_file(repo, name, fault)

    def facts(self, repo, name):
        data = self.hub.repositories[repo].get(name, b"")
        return {
            "X-Repo-Commit": self.hub.commit,
            "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Linked-Size": str(len(data)),
        }

    def send_file(self, repo, name, fault):
        data = self.hub.repositories[repo][name]
        headers = self.facts(repo, name)
        if fault == "no-commit":
            del headers["X-Repo-Commit"]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if fault == "less" and self.command == "GET":
            self.reply(200, data[:-5], headers)
            return
        if asked is None or fault == "ignore-range":
            self.reply(200, data, headers, cut=fault == "cut")
            return
        first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        part = data[first : last + 1]
        self.reply(206, part[:12] if fault == "short" else part, headers, cut=fault == "cut")

    def refuse(self, status, code, text="no"):
        facts = {"X-Error-Code": code} if code else {}
        self.reply(status, b"", {**facts, "X-Error-Message": text, "X-Repo-Commit": self.hub.commit})

    def reply(self, status, body, headers=None, *, cut=False):
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        body = body[: len(body) // 2] if cut else body
        try:
            for start in range(0, len(body), 2**16):
                self.wfile.write(body[start : start + 2**16])
                self.hub.sent_bytes += len(body[start : start + 2**16])
        except OSError:  # The client has hung up.
            cut = True
        self.close_connection = cut
