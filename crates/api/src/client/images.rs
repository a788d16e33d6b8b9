//! Calls about images.

use http::Method;

use super::{
    Client, ClientError,
    exchange::{Download, Exchange, Lines},
    path::segment,
};
use crate::image::{
    CommitImage, Image, ImageList, PruneImages, PullImage, PushImage, RemovedImages,
};

impl Client {
    pub async fn images(&self) -> Result<ImageList, ClientError> {
        self.get("/v1/fumehood/images").reply().await
    }

    /// Brings an image here; lines of [`crate::PullEvent`]. Dropped, it is broken off.
    pub async fn pull_image(&self, asked: &PullImage) -> Result<Lines, ClientError> {
        self.post("/v1/fumehood/images/pull").json(asked).lines().await
    }

    /// Makes an image of a sandbox's disk; lines of [`crate::PullEvent`].
    pub async fn commit_image(&self, asked: &CommitImage) -> Result<Lines, ClientError> {
        self.post("/v1/fumehood/images/commit").json(asked).lines().await
    }

    /// Pushes an image to a registry; lines of [`crate::PushEvent`]. Dropped, it is broken off.
    pub async fn push_image(&self, asked: &PushImage) -> Result<Lines, ClientError> {
        self.post("/v1/fumehood/images/push").json(asked).lines().await
    }

    pub async fn image(&self, name: &str) -> Result<Image, ClientError> {
        self.get(&image_path("/inspect", name)).reply().await
    }

    /// Takes a name away from an image, and the image when it was its last.
    pub async fn delete_image(&self, name: &str) -> Result<RemovedImages, ClientError> {
        Exchange::new(self, Method::DELETE, &image_path("", name)).reply().await
    }

    pub async fn prune_images(&self, asked: &PruneImages) -> Result<RemovedImages, ClientError> {
        self.post("/v1/fumehood/images/prune").json(asked).reply().await
    }

    /// The image as a tar file in OCI's layout.
    pub async fn save_image(&self, name: &str) -> Result<Download, ClientError> {
        self.get(&image_path("/save", name)).download().await
    }
}

fn image_path(rest: &str, name: &str) -> String {
    format!("/v1/fumehood/images{rest}?name={}", segment(name))
}
