//! The media types of manifests, configs and layers, OCI's and Docker's.

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(super) const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(super) const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// What a registry is asked for, in the order of what is liked best.
pub const ACCEPTED: [&str; 4] = [INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

pub(super) const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

const LAYERS: [&str; 10] = [
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    DOCKER_LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Index,
}

/// Parameters (`; charset=…`) are of no interest. What is neither is given back, fit to be shown.
pub(super) fn document(media_type: &str) -> Result<Kind, String> {
    match media_type.split(';').next().unwrap_or_default().trim() {
        MANIFEST | DOCKER_MANIFEST => Ok(Kind::Manifest),
        INDEX | DOCKER_INDEX => Ok(Kind::Index),
        other => Err(shown(other)),
    }
}

pub(super) fn is_config(media_type: &str) -> bool {
    matches!(media_type, CONFIG | DOCKER_CONFIG)
}

/// How it is compressed is seen from its first bytes, as every tool does it: the types are wrong
/// too often.
pub(super) fn is_layer(media_type: &str) -> bool {
    LAYERS.contains(&media_type)
}

pub(super) fn shown(media_type: &str) -> String {
    media_type.chars().take(120).collect()
}
