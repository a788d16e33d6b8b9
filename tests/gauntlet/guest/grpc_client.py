"""A gRPC client: streams both ways at once, trailers, errors. Prints what it saw, as JSON."""

import json
import os
import queue
import time

import grpc


def same(data):
    return data


def main():
    key = os.environ.get("CLIENT_KEY", "none")
    metadata = (("authorization", f"Bearer {key}"),)
    roots = open(os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
                                "/etc/ssl/certs/ca-certificates.crt"), "rb").read()
    channel = grpc.secure_channel("grpc.test:443", grpc.ssl_channel_credentials(roots))
    both = channel.stream_stream("/gauntlet.Echo/Both", same, same)
    asked = queue.Queue()
    call = both(iter(asked.get, None), metadata=metadata, timeout=30)
    answers, waits = [], []
    for number in range(5):
        # Each is sent only when the answer to the one before is there.
        began = time.monotonic()
        asked.put(b"message %d" % number)
        answers.append(next(call).decode())
        waits.append(time.monotonic() - began)
    asked.put(None)
    rest = list(call)
    trailers = {pair.key: pair.value for pair in call.trailing_metadata()}
    many = channel.unary_stream("/gauntlet.Echo/Many", same, same)
    count = len(list(many(b"2000", metadata=metadata, timeout=30)))
    fail = channel.unary_unary("/gauntlet.Echo/Fail", same, same)
    try:
        fail(b"", metadata=metadata, timeout=30)
        failed = None
    except grpc.RpcError as fault:
        failed = [fault.code().name, fault.details()]
    print(json.dumps({"answers": answers, "rest": len(rest), "trailers": trailers, "many": count,
                      "failed": failed, "waits": waits}))


main()
