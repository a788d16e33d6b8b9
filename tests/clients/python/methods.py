"""Every public method of `vercel.sandbox` 0.12, in both its flavours: methods.py sync|async."""

import asyncio
import inspect
import io
import subprocess
import sys
from datetime import timedelta

from vercel import sandbox as asynchronous
from vercel.sandbox import (
    NetworkPolicy, NetworkPolicyRule, NetworkPolicySubnets, NetworkPolicyTransform, ProcessSignal,
    SandboxQueryByName, SandboxResources, SnapshotSource, TagFilter, sync,
)
from vercel.sandbox._internal import async_runtime, sync_runtime, user_core

from flavours import every, got, within
from report import proves, readable, refused, report

FLAVOUR = sys.argv[1]
vercel = sync if FLAVOUR == "sync" else asynchronous
runtime = sync_runtime if FLAVOUR == "sync" else async_runtime
PREFIX = "Sync" if FLAVOUR == "sync" else ""
NAME = "methods"
DAY = timedelta(days=1)

# Where a child of its script for another user ends within this command, bash runs a trap that is gone (docs/clients.md).
RACE = "\ntrap - 17\n"
assert user_core._USER_MONITOR.count(RACE) == 1, "has it been mended?"
user_core._USER_MONITOR = user_core._USER_MONITOR.replace(RACE, "\n")


def of(name, module=runtime):
    return getattr(module, PREFIX + name)


async def runs(type_, context, user):
    with proves(f"{type_}.run_process"):
        done = await got(context.run_process("sh", ["-c", "id -un; echo $A; pwd; echo err >&2; exit 7"],
                                             env={"A": "a b"}, cwd="/tmp", capture_output=True))
        assert (done.returncode, done.stdout, done.stderr) == (7, f"{user}\na b\n/tmp\n", "err\n"), done
        fed = await got(context.run_process("cat", input="fed", capture_output=True))
        assert fed.stdout == "fed", fed
        out = io.StringIO()
        await got(context.run_process("echo", ["streamed"], stdout=out))
        assert out.getvalue() == "streamed\n"
        slow = await got(context.run_process("sleep", ["100"], kill_after=0.3, capture_output=True))
        assert slow.returncode == 137, slow
        root = await got(context.run_process("id", ["-un"], sudo=True, capture_output=True))
        assert root.stdout == "root\n", root
        try:
            await got(context.run_process("false", check=True, capture_output=True))
            raise AssertionError("it passed")
        except subprocess.CalledProcessError as error:
            assert error.returncode == 1
    with proves(f"{type_}.create_process"):
        process = await got(context.create_process("sh", ["-c", "echo out; echo err >&2; exit 4"]))
        assert await got(process.communicate()) == ("out\n", "err\n")
        assert process.returncode == 4


async def processes(type_, context):
    with proves(f"{type_}.create_process"):
        with refused(400, "executable_not_found"):
            await got(context.create_process("no-such-program"))
    with proves(f"{type_}.get_process"):
        process = await got(context.create_process("sh", ["-c", "echo out; exit 4"]))
        same = await got(context.get_process(process.id, wait=True))
        assert (same.id, same.returncode) == (process.id, 4)
        with refused(404, "not_found"):
            await got(context.get_process("cmd_" + "0" * 28))
    with proves(f"{type_}.query_processes"):
        assert any(each.id == process.id for each in await got(context.query_processes()))


async def process(context):
    piped = await got(context.create_process("sh", ["-c", "read a; echo $a; cat"], stdin=subprocess.PIPE))
    readable("Process", piped)
    with proves("Process.stdin"):
        write = getattr(piped.stdin, "write", None) or piped.stdin.send
        await got(write(b"first\n"))
        again = await got(context.get_process(piped.id))
        write = getattr(again.stdin, "write", None) or again.stdin.send
        await got(write(b"x" * 700_000))
        close = getattr(again.stdin, "close", None) or again.stdin.aclose
        if FLAVOUR == "async":
            close = again.stdin.aclose
        await got(close())
    with proves("Process.stdout"):
        text = await got(piped.stdout.read())
        assert text == "first\n" + "x" * 700_000, len(text)
    with proves("Process.wait"):
        assert await got(piped.wait()) == 0
    with proves("Process.stderr"):
        assert await got(piped.stderr.read()) == ""
    with proves("Process.communicate"):
        cat = await got(context.create_process("cat", stdin=subprocess.PIPE))
        assert (await got(cat.communicate("all of it")))[0] == "all of it"
    with proves("Process.refresh"):
        assert (await got(cat.refresh())).returncode == 0
    for method, argument, code in (("terminate", (), 143), ("kill", (), 137), ("send_signal", (ProcessSignal.SIGINT,), 130)):
        with proves(f"Process.{method}"):
            sleeping = await got(context.create_process("sleep", ["100"]))
            await got(getattr(sleeping, method)(*argument))
            assert await got(sleeping.wait()) == code


async def files(fs):
    with proves("SandboxFilesystem.mkdir"):
        await got(fs.mkdir("tree/of"))
        with refused(400, "file_error"):
            await got(fs.mkdir("absent/folder", recursive=False))
    with proves("SandboxFilesystem.write_bytes"):
        await got(fs.write_bytes("tree/of/bytes", bytes(range(256)) * 4096, mode=0o640))
    with proves("SandboxFilesystem.read_bytes"):
        assert await got(fs.read_bytes("tree/of/bytes")) == bytes(range(256)) * 4096
        try:
            await got(fs.read_bytes("absent"))
            raise AssertionError("it was there")
        except asynchronous.SandboxPathNotFoundError:
            pass
    with proves("SandboxFilesystem.write_text"):
        await got(fs.write_text("tree/text", "héllo\n"))
    with proves("SandboxFilesystem.read_text"):
        assert await got(fs.read_text("tree/text")) == "héllo\n"
    with proves("SandboxFilesystem.open"):
        async with within(fs.open("tree/written", "w")) as file:
            await got(file.write("one\ntwo\n"))
        async with within(fs.open("tree/written")) as file:
            assert await got(file.read()) == "one\ntwo\n"
        async with within(fs.open("tree/of/bytes", "rb")) as file:
            assert await got(file.read(4)) == b"\0\1\2\3"
    with proves("SandboxFilesystem.batch", "SandboxFilesystemBatch.write_bytes", "SandboxFilesystemBatch.write_text"):
        async with within(fs.batch()) as batch:
            batch.write_bytes("tree/a", b"a")
            batch.write_text("tree/b", "b", mode=0o755)
        assert await got(fs.read_text("tree/a")) + await got(fs.read_text("tree/b")) == "ab"
    with proves("SandboxFilesystem.listdir"):
        names = sorted(each.path for each in await got(fs.listdir("tree")))
        assert names == ["a", "b", "of", "text", "written"], names
    with proves("SandboxFilesystem.exists"):
        assert await got(fs.exists("tree/a")) and not await got(fs.exists("absent"))
    with proves("SandboxFilesystem.is_file"):
        assert await got(fs.is_file("tree/a")) and not await got(fs.is_file("tree"))
    with proves("SandboxFilesystem.is_dir"):
        assert await got(fs.is_dir("tree")) and not await got(fs.is_dir("tree/a"))
    with proves("SandboxFilesystem.rename"):
        await got(fs.rename("tree/a", "tree/moved"))
        assert await got(fs.exists("tree/moved")) and not await got(fs.exists("tree/a"))
    with proves("SandboxFilesystem.remove"):
        await got(fs.remove("tree", recursive=True))
        await got(fs.remove("tree", missing_ok=True))
        assert not await got(fs.exists("tree"))


async def terminal(type_, context):
    close = "close" if FLAVOUR == "sync" else "aclose"
    with proves(f"{type_}.open_interactive", "InteractiveSession.stream", "InteractiveSession.resize",
                "InteractiveSession.wait", "InteractiveSession.returncode", f"InteractiveSession.{close}"):
        async with within(context.open_interactive("sh", ["-c", "read a; stty size; echo got $a; exit 3"])) as pty:
            await got(pty.resize(100, 30))
            write = getattr(pty.stream, "write", None) or pty.stream.send
            await got(write(b"typed\n"))
            assert await got(pty.wait()) == 3
            assert pty.returncode == 3
            await got(getattr(pty, close)())


async def main():
    with proves("functions.create_sandbox"):
        box = await got(vercel.create_sandbox(
            name=NAME, execution_time_limit=240, resources=SandboxResources(vcpus=1),
            env={"FROM_CREATE": "yes"}, tags={"suite": "methods"}))
    readable("Sandbox", box)
    session = box.current_session
    readable("SandboxRuntimeSession", session)
    user = (await got(box.run_process("id", ["-un"], capture_output=True))).stdout.strip()
    for type_, context in (("Sandbox", box), ("SandboxRuntimeSession", session)):
        await runs(type_, context, user)
        await processes(type_, context)
        await terminal(type_, context)
        with proves(f"{type_}.as_user"):
            root = await got(context.as_user("root").run_process("id", ["-un"], capture_output=True))
            assert root.stdout == "root\n", root
        with proves(f"{type_}.extend_execution_time_limit"):
            await got(context.extend_execution_time_limit(60))
            with refused(400, "sandbox_timeout_invalid"):
                await got(context.extend_execution_time_limit(100 * DAY))
        with proves(f"{type_}.update_network_policy"):
            policy = NetworkPolicy.custom(
                allow={"*.example.com": [], "api.example.net": [NetworkPolicyRule(transform=[NetworkPolicyTransform(headers={"authorization": "secret"})])]},
                subnets=NetworkPolicySubnets(deny=["192.0.2.0/24"]))
            await got(context.update_network_policy(policy))
            await got(session.refresh())
            assert "secret" not in repr(session.network_policy) and "api.example.net" in repr(session.network_policy)
            await got(context.update_network_policy(NetworkPolicy.allow_all()))
    with proves("SandboxRuntimeSession.refresh"):
        assert (await got(session.refresh())).id == session.id
    await process(box)
    await files(box.fs)
    with proves("Sandbox.create_user", "SandboxRuntimeSession.create_user"):
        alice = await got(box.create_user("alice"))
        try:
            await got(session.create_user("alice"))
            raise AssertionError("made twice")
        except asynchronous.SandboxUserAlreadyExistsError:
            pass
    with proves("SandboxUser.username", "SandboxUser.home_dir", "SandboxUser.fs"):
        assert (alice.username, alice.home_dir) == ("alice", "/home/alice")
        await got(alice.fs.write_text("mine", "text"))
        assert await got(alice.fs.read_text("mine")) == "text"
    await runs("SandboxUser", alice, "alice")

    with proves("functions.get_sandbox"):
        assert (await got(vercel.get_sandbox(name=NAME))).current_session_id == session.id
        with refused(404, "not_found"):
            await got(vercel.get_sandbox(name="nobody"))
    with proves("functions.get_or_create_sandbox"):
        same, created = await got(vercel.get_or_create_sandbox(name=NAME))
        assert same.current_session_id == session.id and not created
    with proves("functions.query_sandboxes"):
        assert NAME in [each.name for each in await every(vercel.query_sandboxes())]
        query = SandboxQueryByName(name_prefix="meth")
        assert [each.name for each in await every(vercel.query_sandboxes(query=query))] == [NAME]
    with proves("Sandbox.update"):
        await got(box.update(execution_time_limit=300, tags={"suite": "updated"}, env={"FROM_UPDATE": "yes"}))
        assert box.tags == {"suite": "updated"}, box.tags
    with proves("Sandbox.snapshot"):
        await got(box.fs.write_text("mark", "first"))
        snapshot = await got(box.snapshot(expiration=2 * DAY))
        assert snapshot.status == "created"
        assert await got(box.fs.read_text("mark")) == "first"
    with proves("Sandbox.session", "functions.resume_sandbox"):
        async with within(box.session()) as resumed:
            assert resumed.id == box.current_session_id
        again = await got(vercel.resume_sandbox(name=NAME))
    with proves("SandboxRuntimeSession.snapshot"):
        second = await got(again.current_session.snapshot())
        assert second.status == "created"
    with proves("functions.get_snapshot"):
        assert (await got(vercel.get_snapshot(snapshot_id=snapshot.id))).id == snapshot.id
    with proves("functions.query_snapshots"):
        assert snapshot.id in [each.id for each in await every(vercel.query_snapshots(name=NAME))]
    with proves("Sandbox.list_snapshots"):
        assert snapshot.id in [each.id for each in await every(await got(box.list_snapshots()))]
    with proves("functions.query_sessions"):
        assert session.id in [each.id for each in await every(vercel.query_sessions(name=NAME))]
    with proves("Sandbox.list_sessions"):
        assert session.id in [each.id for each in await every(await got(box.list_sessions()))]
    with proves("functions.fork_sandbox"):
        async with within(vercel.fork_sandbox(source_sandbox=NAME, name="forked")) as fork:
            assert await got(fork.fs.read_text("mark")) == "first"
    with proves("functions.create_sandbox"):
        async with within(vercel.create_sandbox(source=SnapshotSource(snapshot_id=snapshot.id))) as made:
            assert await got(made.fs.read_text("mark")) == "first"
    with proves("Snapshot.delete"):
        readable("Snapshot", snapshot)
        assert (await got(snapshot.delete())).status == "deleted"

    with proves("functions.get_or_create_drive"):
        drive, created = await got(vercel.get_or_create_drive(name="disk", max_size_bytes=1 << 30))
        assert created and not (await got(vercel.get_or_create_drive(name="disk")))[1]
        readable("Drive", drive)
    with proves("functions.get_drive"):
        assert (await got(vercel.get_drive(name_or_id="disk"))).id == drive.id
    with proves("functions.query_drives"):
        assert [each.name for each in await every(vercel.query_drives())] == ["disk"]
    with proves("Drive.snapshot"):
        async with within(vercel.create_sandbox(mounts={"/data": drive})) as made:
            await got(made.run_process("sh", ["-c", "echo kept >/data/kept"], sudo=True, check=True))
        async with within(vercel.create_sandbox(mounts={"/data": drive.snapshot()})) as made:
            kept = await got(made.run_process("cat", ["/data/kept"], capture_output=True))
            assert kept.stdout == "kept\n", kept
        async with within(vercel.fork_sandbox(source_sandbox=NAME, mounts={"/data": drive})) as fork:
            kept = await got(fork.run_process("cat", ["/data/kept"], capture_output=True))
            assert kept.stdout == "kept\n", kept
    with proves("Drive.fork"):
        forked = await got(drive.fork(name="forked"))
        assert forked.parent_drive_id == drive.id
        await got(forked.delete())
    with proves("functions.fork_drive", "functions.delete_drive"):
        await got(vercel.fork_drive(source="disk", name="again"))
        await got(vercel.delete_drive(name="again"))
    with proves("Drive.delete"):
        await got(drive.delete())

    with proves("SandboxRuntimeSession.stop"):
        last = box.current_session
        await got(last.stop())
        await got(last.stop())
        with refused(410, "sandbox_stopped"):
            await got(last.run_process("true"))
    with proves("Sandbox.stop"):
        await got(box.run_process("true"))
        await got(box.stop())
        assert box.status == "stopped"
    with proves("Sandbox.destroy"):
        await got(box.destroy(delete_orphan_snapshots=True))
        with refused(404, "not_found"):
            await got(vercel.get_sandbox(name=NAME))
    # The context's end takes away what it began.
    with proves("functions.create_sandbox"):
        async with within(vercel.create_sandbox(name="scoped", persistent=False)) as made:
            await got(made.run_process("true", check=True))
        with refused(404, "not_found"):
            await got(vercel.get_sandbox(name="scoped"))

    types = [of(name) for name in ("Sandbox", "SandboxRuntimeSession", "Process", "SandboxFilesystem",
                                   "SandboxFilesystemBatch", "Snapshot", "Drive", "InteractiveSession")]
    functions = [name for name in vercel.__all__ if inspect.isfunction(getattr(vercel, name))]
    report(types + [vercel.SandboxUser if FLAVOUR == "async" else vercel.SyncSandboxUser], functions)


asyncio.run(main())
