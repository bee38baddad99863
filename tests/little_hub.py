"""A small server that answers what `huggingface_hub` asks of the Hub, on 127.0.0.1.

It makes repositories, says which files are large, takes those under their SHA-256 and the others
inside the commit, lists a commit, and hands out its files; at the end it forgets everything.
The Hub's own protocol for large files (Xet) is off."""
import base64
import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from servers import serving

TOKEN = "hf_" + "NotATokenOfAnybody" * 2
LARGE = (".safetensors", ".png")


class Hub:
    "What the server knows."
    def __init__(self):
        self.repos = {} # id -> {"private", "commits", branch: {path: SHA-256}}
        self.stored = {} # SHA-256 -> bytes
        self.asked = [] # requests
        self.refuse = {} # part of a path -> (status, body)
        self.endpoint = ""

    def files(self, repo, branch="main"):
        "Content of each file on a branch."
        return {path: self.stored[oid] for path, oid in self.repos[repo][branch].items()}

    def store(self, content):
        oid = hashlib.sha256(content).hexdigest()
        self.stored[oid] = content
        return oid

    def commit(self, repo, branch):
        if branch in repo["commits"]: return branch
        sha = hashlib.sha1(json.dumps(repo[branch]).encode()).hexdigest()
        repo["commits"][sha] = dict(repo[branch])
        return sha


class Answers(BaseHTTPRequestHandler):
    hub:Hub

    def do(self):
        self.path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.asked.append(f"{self.command} {re.sub(r'[0-9a-f]{40,}', '…', self.path)}")
        self.allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not self.allowed and self.command == "POST":
            return self.answer(401, {"error": "Invalid username or password."})
        for part, answer in self.hub.refuse.items():
            if part in self.path: return self.answer(*answer)
        if self.path.startswith("/lfs/"):
            return self.answer(
                200 if self.hub.store(self.body) == self.path.removeprefix("/lfs/") else 400
            )
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if self.path == "/api/repos/create": return self.make()
        found = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+?)(?:\.git)?/(.*)", self.path)
        repo = self.hub.repos.get(found[1]) if found else None
        if repo is None or (repo["private"] and not self.allowed):
            return self.answer(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        self.name = found[1]
        return self.of_repo(repo, *found[2].split("/", 1))

    do_GET = do_HEAD = do_POST = do_PUT = do

    def make(self):
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        known = name in self.hub.repos
        empty = {"private": asked.get("visibility") == "private", "main": {}, "commits": {}}
        self.hub.repos.setdefault(name, empty)
        self.answer(409 if known else 200, {"url": f"{self.hub.endpoint}/{name}"})

    def of_repo(self, repo, what, rest=""):
        hub = self.hub
        if what == "info":
            objects = json.loads(self.body)["objects"]

            def wanted(o):
                return {**o, "actions": {"upload": {"href": f"{hub.endpoint}/lfs/{o['oid']}"}}}

            return self.answer(
                200, {"objects": [o if o["oid"] in hub.stored else wanted(o) for o in objects]}
            )
        if what == "branch":
            known = rest in repo
            repo.setdefault(rest, dict(repo["main"]))
            return self.answer(409 if known else 200, {})
        if what == "preupload":
            def mode(path): return "lfs" if path.endswith(LARGE) else "regular"

            return self.answer(
                200,
                {
                    "files": [
                        {"path": f["path"], "shouldIgnore": False, "uploadMode": mode(f["path"])}
                        for f in json.loads(self.body)["files"]
                    ]
                },
            )
        if what == "commit": return self.take(repo, rest)
        if what == "tree" and "/" in rest:  # a folder in it
            return self.answer(404, X_Error_Code="EntryNotFound")
        if what in ("revision", "tree"):
            sha = hub.commit(repo, rest)
            files = repo["commits"][sha]
            listed = [
                {"type": "file", "path": p, "oid": o, "size": len(hub.stored[o])}
                for p, o in files.items()
            ]
            if what == "tree": return self.answer(200, listed)
            return self.answer(200, {"id": "", "sha": sha, "private": repo["private"], "tags": [],
                                     "siblings": [{"rfilename": path} for path in files]})
        if what == "resolve":
            revision, path = rest.split("/", 1)
            sha = hub.commit(repo, revision)
            oid = repo["commits"][sha].get(path)
            if oid is None: return self.answer(404, X_Error_Code="EntryNotFound")
            return self.answer(200, hub.stored[oid], X_Repo_Commit=sha, ETag=f'"{oid}"')
        self.answer(404, {"error": f"{self.command} {self.path} is not known here"})

    def take(self, repo, branch):
        for line in self.body.decode().splitlines():
            part = json.loads(line)
            kind, value = part["key"], part["value"]
            if kind == "file":
                repo[branch][value["path"]] = self.hub.store(base64.b64decode(value["content"]))
            elif kind == "lfsFile": repo[branch][value["path"]] = value["oid"]
            elif kind == "deletedFile": del repo[branch][value["path"]]
        sha = self.hub.commit(repo, branch)
        self.answer(
            200, {"commitUrl": f"{self.hub.endpoint}/{self.name}/commit/{sha}", "commitOid": sha}
        )

    def answer(self, status=200, body=b"", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(body)

    def log_message(self, *args): pass


@contextmanager
def little_hub():
    "A running server; within, large files go the plain way."
    import huggingface_hub
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Server", (Answers,), {"hub": hub}))
    constants = huggingface_hub.constants
    before, constants.HF_HUB_DISABLE_XET = constants.HF_HUB_DISABLE_XET, True
    try:
        with serving(server) as hub.endpoint: yield hub
    finally: constants.HF_HUB_DISABLE_XET = before
