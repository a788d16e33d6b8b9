"""Loaded by Python when it starts: what a client sends to Vercel's API goes to $FUMEHOOD_SERVER."""

import importlib
import os

SERVER = os.environ["FUMEHOOD_SERVER"].rstrip("/") + "/api"
VERCEL = ("https://vercel.com/api", "https://api.vercel.com")


def redirect(name):
    try:
        httpx = importlib.import_module(name)
    except ImportError:
        return
    for client in (httpx.Client, httpx.AsyncClient):
        def build_request(self, *args, build=client.build_request, **named):
            request = build(self, *args, **named)
            url = str(request.url)
            for known in VERCEL:
                if url.startswith(known + "/"):
                    request.url = httpx.URL(SERVER + url.removeprefix(known))
                    request.headers["host"] = request.url.netloc.decode()
                    break
            return request

        client.build_request = build_request


for package in ("httpx", "httpx2"):
    redirect(package)
