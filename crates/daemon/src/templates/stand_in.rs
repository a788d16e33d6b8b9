//! An identity that is nobody's: for machines that do once what those made from them do again.

use protocol::{
    Claim, Entropy,
    network::{Certificate, Network},
};

use super::BaseImage;
use crate::{clock, ids};

/// As short as can be: what takes its place in a file need not be cut.
const HOSTNAME: &str = "x";

pub(crate) fn claim(image: &BaseImage, trust: Vec<Certificate>) -> Claim {
    Claim {
        hostname: HOSTNAME.to_owned(),
        machine_id: ids::random(),
        entropy: Entropy(ids::random()),
        unix_nanos: clock::now_ns(),
        user: image.user.clone(),
        cwd: "/".to_owned(),
        env: image.env.clone(),
        network: Network { trust },
    }
}
