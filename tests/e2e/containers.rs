//! Containers in a guest: what the kernel has to give for them, and Docker itself.

use crate::hood::{Hood, is_full};

#[track_caller]
fn root(hood: &Hood, name: &str, script: &str) -> String {
    let ran = hood.run(&["exec", "--sudo", name, "--", "bash", "-ec", script]);
    assert_eq!(ran.code, Some(0), "{script}: {ran:?}");
    ran.stdout.trim_end().to_owned()
}

/// Modules, overlay, bridge and pairs of cards, address translation, control groups with limits,
/// namespaces of users without root: what Docker, podman and buildah are made on.
#[test]
fn the_guests_kernel_gives_what_containers_need() {
    let hood = Hood::new();
    let name = hood.create(&["--memory", "512", "--deny-all"]);
    root(
        &hood,
        &name,
        "modprobe -a overlay bridge br_netfilter veth nf_tables nft_compat nft_chain_nat \
         xt_MASQUERADE xt_addrtype xt_conntrack fuse tun
         ip link add br0 type bridge && ip link add v0 type veth peer name v1 && ip link set v0 master br0
         sysctl -qw net.ipv4.ip_forward=1 && test -e /dev/fuse && test -e /dev/net/tun
         mkdir -p /o/{lower,upper,work,all} && echo low > /o/lower/file
         mount -t overlay overlay -o lowerdir=/o/lower,upperdir=/o/upper,workdir=/o/work /o/all
         echo high > /o/all/file && cat /o/lower/file | grep -q low && grep -q high /o/upper/file",
    );
    let killed = root(
        &hood,
        &name,
        "cd /sys/fs/cgroup && echo '+memory +cpu +pids' > cgroup.subtree_control && mkdir box
         echo 32M > box/memory.max && echo '50000 100000' > box/cpu.max && echo 10 > box/pids.max
         bash -c 'echo $$ > box/cgroup.procs; exec python3 -c \"bytearray(100 << 20)\"' || echo $?",
    );
    assert_eq!(killed, "137", "the group's own limit holds");
    let user = "unshare --user --map-root-user --mount --pid --fork id -u && \
                grep -c ^fumehood: /etc/subuid";
    assert_eq!(hood.ok(&["exec", &name, "--", "sh", "-c", user]), "0\n1");
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

/// Debian's Docker, installed through the gateway; a container of it is held to the policy.
#[test]
fn docker_runs_containers_whose_network_is_the_gateways() {
    if !is_full() {
        return;
    }
    let hood = Hood::new();
    let sources = "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | \
                   grep -o 'https\\?://[^ ]*' | head -1";
    let mirror = hood.ok(&["run", "--deny-all", "--", "sh", "-c", sources]);
    let host = mirror.split('/').nth(2).unwrap().to_owned();
    let hosts = "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | \
                 grep -o 'https\\?://[^/ ]*' | sed 's|.*//||' | sort -u | paste -sd ,";
    let hosts = hood.ok(&["run", "--deny-all", "--", "sh", "-c", hosts]);
    let name = hood.create(&["--timeout", "20m", "--allow", &hosts]);
    root(
        &hood,
        &name,
        "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
         --no-install-recommends docker.io docker-cli busybox-static > /tmp/apt 2>&1",
    );
    hood.ok(&["exec", "-d", "--sudo", &name, "--", "sh", "-c", "exec dockerd > /tmp/log 2>&1"]);
    root(
        &hood,
        &name,
        "for n in $(seq 120); do docker info > /tmp/info 2>&1 && break; sleep 1; done
         grep -q 'Storage Driver: overlay2' /tmp/info && grep -q 'Cgroup Version: 2' /tmp/info
         mkdir -p /r/bin && cp /bin/busybox /r/bin/ && /bin/busybox --install -s /r/bin
         for link in /r/bin/*; do [ -L $link ] && ln -sf busybox $link; done
         tar -C /r -c . | docker import - box > /dev/null",
    );
    let run = |options: &str, script: &str| {
        let command = format!("docker run --rm {options} box /bin/sh -c '{script}'");
        let ran = hood.run(&["exec", "--sudo", &name, "--", "sh", "-c", &command]);
        (ran.code, ran.stdout, ran.stderr)
    };
    let told = run("-m 64m --cpus .5", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max");
    assert_eq!((told.0, told.1.as_str()), (Some(0), "67108864\n50000 100000\n"), "{told:?}");
    let plain = mirror.replacen("https://", "http://", 1);
    let release = format!("{}/dists/trixie/Release", plain.trim_end_matches('/'));
    let fetched = run("", &format!("wget -q -O - {release} | head -1"));
    assert!(fetched.1.starts_with("Origin: Debian"), "{host}: {fetched:?}");
    let denied = run("", "wget -q -T 10 -O - http://example.com");
    assert_ne!(denied.0, Some(0), "{denied:?}");
    assert!(hood.ok(&["audit", "--denied", &name]).contains("example.com"));
    root(
        &hood,
        &name,
        "docker run -d --name web -p 8080:80 box /bin/httpd -f -p 80 -h /etc > /dev/null
         for n in $(seq 60); do curl -sf 127.0.0.1:8080/hostname && break; sleep 1; done
         docker rm -f web > /dev/null",
    );
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}
