//! Calls about the server itself: what it is, its secrets and its tokens.

use http::Method;

use super::{Client, ClientError, exchange::Exchange, path::segment};
use crate::secrets::{PutSecret, SecretList};
use crate::server::{Listener, Pool, Version};
use crate::tokens::{CreateToken, NewToken, RevokedTokens, TokenList};

impl Client {
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.get("/v1/fumehood/version").reply().await
    }

    /// Has the server listen on a port of its own computer too, if it does not yet.
    pub async fn listen(&self) -> Result<Listener, ClientError> {
        self.post("/v1/fumehood/listen").reply().await
    }

    /// Asks the server to close and leave its machines to the next one.
    pub async fn handover(&self) -> Result<(), ClientError> {
        self.post("/v1/fumehood/handover").accepted().await.map(|_| ())
    }

    pub async fn pool(&self) -> Result<Pool, ClientError> {
        self.get("/v1/fumehood/pool").reply().await
    }

    /// The secrets that are stored, without their values.
    pub async fn secrets(&self) -> Result<SecretList, ClientError> {
        self.get("/v1/fumehood/secrets").reply().await
    }

    /// Stores a secret, in place of the one of this name before.
    pub async fn put_secret(&self, name: &str, secret: &PutSecret) -> Result<(), ClientError> {
        let exchange = Exchange::new(self, Method::PUT, &secret_path(name));
        exchange.json(secret).accepted().await.map(|_| ())
    }

    pub async fn delete_secret(&self, name: &str) -> Result<(), ClientError> {
        let exchange = Exchange::new(self, Method::DELETE, &secret_path(name));
        exchange.accepted().await.map(|_| ())
    }

    /// Makes a token of the client's project.
    pub async fn create_token(&self, asked: &CreateToken) -> Result<NewToken, ClientError> {
        self.post("/v1/fumehood/tokens").json(asked).reply().await
    }

    /// The tokens that are not revoked; of all projects if the client is for none.
    pub async fn tokens(&self) -> Result<TokenList, ClientError> {
        self.get("/v1/fumehood/tokens").reply().await
    }

    pub async fn revoke_token(&self, id: &str) -> Result<RevokedTokens, ClientError> {
        let path = format!("/v1/fumehood/tokens/{}", segment(id));
        Exchange::new(self, Method::DELETE, &path).reply().await
    }

    /// Has tokens signed with another key from now on; all there are end.
    pub async fn rotate_token_key(&self) -> Result<RevokedTokens, ClientError> {
        self.post("/v1/fumehood/tokens/rotate-key").reply().await
    }
}

fn secret_path(name: &str) -> String {
    format!("/v1/fumehood/secrets/{}", segment(name))
}
