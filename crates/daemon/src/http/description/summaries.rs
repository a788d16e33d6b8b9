//! What each route does, in a line.

/// None for a route that nobody has said it of; a test finds that.
pub(super) fn of(method: &str, path: &str) -> Option<&'static str> {
    let found = SUMMARIES.iter().find(|(of, at, _)| *of == method && *at == path);
    found.map(|(.., summary)| *summary)
}

pub(super) const SUMMARIES: &[(&str, &str, &str)] = &[
    ("get", "/v2/sandboxes", "The sandboxes of a project, page by page."),
    ("post", "/v2/sandboxes", "Makes a sandbox; it runs when this answers."),
    ("get", "/v2/sandboxes/drives", "The drives of a project, page by page."),
    ("get", "/v2/sandboxes/drives/{name}", "A drive by its name or id."),
    ("post", "/v2/sandboxes/drives/{name}", "Makes a drive, or gives the one that is there."),
    ("delete", "/v2/sandboxes/drives/{name}", "Removes a drive that no session has."),
    (
        "post",
        "/v2/sandboxes/drives/{name}/fork",
        "Makes another drive with what the last writer of this one left.",
    ),
    ("get", "/v2/sandboxes/{name}", "A sandbox by its name."),
    ("patch", "/v2/sandboxes/{name}", "Changes a sandbox; what is not named stays as it is."),
    (
        "delete",
        "/v2/sandboxes/{name}",
        "Ends a sandbox's session, if one runs, and removes it; its snapshots stay unless asked.",
    ),
    (
        "post",
        "/v2/sandboxes/{name}/fork",
        "Makes a sandbox that starts from the current snapshot of another, as that one is configured.",
    ),
    ("get", "/v2/sandboxes/snapshots", "The snapshots of a project, page by page."),
    (
        "get",
        "/v2/sandboxes/snapshots/tree",
        "What a snapshot came of (`desc`), or what came of it (`asc`), itself first.",
    ),
    ("get", "/v2/sandboxes/snapshots/{id}", "A snapshot by its id, also one that is deleted."),
    (
        "delete",
        "/v2/sandboxes/snapshots/{id}",
        "Deletes a snapshot. Sandboxes that run on it run on; none starts from it any more.",
    ),
    ("get", "/v2/sandboxes/sessions", "The sessions of a project or a sandbox, page by page."),
    (
        "post",
        "/v2/sandboxes/sessions/{sid}/snapshot",
        "Makes the disk of a session a snapshot, which ends the session. Answers when it is there.",
    ),
    ("get", "/v2/sandboxes/sessions/{sid}", "A session: one run of a sandbox's machine."),
    ("post", "/v2/sandboxes/sessions/{sid}/stop", "Ends a session and waits for its end."),
    (
        "get",
        "/v2/sandboxes/sessions/{sid}/console",
        "What the guest's kernel and agent wrote to the console: text; with `follow` what comes too.",
    ),
    (
        "get",
        "/v2/sandboxes/sessions/{sid}/audit",
        "What the gateway has decided, a JSON object a line; with `follow` what comes too.",
    ),
    (
        "post",
        "/v2/sandboxes/sessions/{sid}/network-policy",
        "Makes another policy hold, at once and for open connections too.",
    ),
    (
        "post",
        "/v2/sandboxes/sessions/{sid}/network-policy/explain",
        "What would become of a request by the policy that holds. Nothing is sent.",
    ),
    (
        "get",
        "/v2/sandboxes/sessions/{sid}/attach",
        "A WebSocket: starts or follows a command with its streams.",
    ),
    (
        "get",
        "/v2/sandboxes/sessions/{sid}/tunnel",
        "With `Upgrade: tcp`, becomes a connection to a port of the guest.",
    ),
    (
        "post",
        "/v2/sandboxes/sessions/{sid}/interactive",
        "Gives the address of a terminal, and a token for one connection to it.",
    ),
    ("post", "/v2/sandboxes/{name}/pass", "Makes a pass for a private port."),
    ("get", "/v2/sandboxes/sessions/{sid}/cmd", "The commands of a session."),
    (
        "post",
        "/v2/sandboxes/sessions/{sid}/cmd",
        "Starts a command; with `wait` the answer is lines of JSON until it has ended.",
    ),
    (
        "get",
        "/v2/sandboxes/sessions/{sid}/cmd/{cid}",
        "A command; with `wait` once it has ended, however long that takes.",
    ),
    (
        "get",
        "/v2/sandboxes/sessions/{sid}/cmd/{cid}/logs",
        "The output of a command from its start, as lines of JSON.",
    ),
    (
        "post",
        "/v2/sandboxes/sessions/{sid}/cmd/{cid}/kill",
        "Sends a signal to a command and all that it started.",
    ),
    (
        "post",
        "/v2/sandboxes/sessions/{sid}/fs/write",
        "Unpacks a tar stream, gzipped or not, below the folder that the header `x-cwd` names.",
    ),
    ("post", "/v2/sandboxes/sessions/{sid}/fs/read", "A file's content."),
    ("post", "/v2/sandboxes/sessions/{sid}/fs/mkdir", "Makes a folder."),
    ("post", "/v2/sandboxes/sessions/{sid}/fs/stat", "What a path is."),
    ("get", "/v2/sandboxes/sessions/{sid}/fs/tar", "A file or folder as a tar stream."),
    (
        "post",
        "/v2/sandboxes/sessions/{sid}/extend-timeout",
        "Moves the end of a session that runs.",
    ),
    (
        "post",
        "/v2/sandboxes/sessions/{sid}/cmd/{cid}/stdin",
        "Gives a command a piece of its input, which may be sent again.",
    ),
    ("get", "/v1/sandboxes", "The sessions of a project, in version 1's words, as all below it."),
    ("post", "/v1/sandboxes", "Makes a sandbox that does not persist."),
    ("get", "/v1/sandboxes/{sid}", "A session, which is a sandbox in version 1's words."),
    ("post", "/v1/sandboxes/{sid}/stop", "Ends a session and waits for its end."),
    ("post", "/v1/sandboxes/{sid}/extend-timeout", "Moves the end of a session that runs."),
    ("post", "/v1/sandboxes/{sid}/network-policy", "Makes another policy hold."),
    ("get", "/v1/sandboxes/{sid}/cmd", "The commands of a session."),
    ("post", "/v1/sandboxes/{sid}/cmd", "Starts a command."),
    ("get", "/v1/sandboxes/{sid}/cmd/{cid}", "A command; with `wait` once it has ended."),
    ("get", "/v1/sandboxes/{sid}/cmd/{cid}/logs", "The output of a command, as lines of JSON."),
    ("post", "/v1/sandboxes/{sid}/cmd/{cid}/kill", "Sends a signal to a command."),
    ("post", "/v1/sandboxes/{sid}/{cid}/kill", "Sends a signal to a command."),
    ("post", "/v1/sandboxes/{sid}/fs/write", "Unpacks a tar stream."),
    ("post", "/v1/sandboxes/{sid}/fs/read", "A file's content."),
    ("post", "/v1/sandboxes/{sid}/fs/mkdir", "Makes a folder."),
    ("get", "/v1/fumehood/version", "The server's version."),
    (
        "post",
        "/v1/fumehood/listen",
        "Listens on a port of the server's computer too. The administrator's.",
    ),
    (
        "post",
        "/v1/fumehood/handover",
        "Closes the server for a newer one; machines run on. The administrator's.",
    ),
    (
        "get",
        "/v1/fumehood/pool",
        "The machines that are ready before anybody asks for them. The administrator's.",
    ),
    ("get", "/v1/fumehood/images", "The images that are here, those of all projects."),
    (
        "delete",
        "/v1/fumehood/images",
        "Takes a name away from an image, and the image with its last. The administrator's.",
    ),
    ("get", "/v1/fumehood/images/inspect", "An image."),
    ("post", "/v1/fumehood/images/pull", "Brings an image here; lines of JSON say how far it is."),
    (
        "post",
        "/v1/fumehood/images/commit",
        "Makes an image of a running sandbox's disk; lines of JSON say how far it is. The administrator's.",
    ),
    (
        "post",
        "/v1/fumehood/images/push",
        "Takes an image to a registry; lines of JSON say how far it is. The administrator's.",
    ),
    ("get", "/v1/fumehood/images/save", "An image as a tar file in OCI's layout."),
    (
        "post",
        "/v1/fumehood/images/prune",
        "Removes images that no sandbox stands on. The administrator's.",
    ),
    ("get", "/v1/fumehood/tokens", "The tokens that are not revoked. The administrator's."),
    (
        "post",
        "/v1/fumehood/tokens",
        "Makes a token of a project and tells it this once. The administrator's.",
    ),
    (
        "post",
        "/v1/fumehood/tokens/rotate-key",
        "Signs with another key from now on, which revokes all tokens. The administrator's.",
    ),
    ("delete", "/v1/fumehood/tokens/{id}", "Revokes a token. The administrator's."),
    ("get", "/v1/fumehood/secrets", "The secrets of a project, without their values."),
    (
        "put",
        "/v1/fumehood/secrets/{name}",
        "Stores a secret in place of the one before; sandboxes have it with their next request.",
    ),
    ("delete", "/v1/fumehood/secrets/{name}", "Forgets a secret."),
];
